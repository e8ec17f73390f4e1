# SPDX-License-Identifier: MPL-2.0
"""
Messages as people look through them: filtered, page by page, by number, counted, and grouped by what went wrong.

A page is read from where the one before it ended (`before`, `after`), so the thousandth costs what the first does. Its
number is reached by counting off in an index: 50 messages to a page, so the thousandth is 50 000 narrow entries away.
`docs/scaling.md` says which index serves which filter. No body, no receipt, nobody's number is read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from typing import Any, Final
from uuid import UUID

from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.lanes import Status
from sygefravaer.store import Row, Store, Tx

SIZE: Final = 50  # messages of a page
LONGEST: Final = 20_000  # pages that are reached by number: what lies deeper is reached by its age
COUNTED: Final = 1_000  # messages: whoever has more narrows, and does not read on

MIGRATION: Final = """
    -- What people look through messages by (docs/scaling.md); those of one key are in the order of acceptance.
    CREATE INDEX IF NOT EXISTS message_municipality ON message (municipality_cvr, message_id)
    INCLUDE (operation, sender, recipient, status);
    CREATE INDEX IF NOT EXISTS message_sender ON message (sender, message_id);
    CREATE INDEX IF NOT EXISTS message_recipient ON message (recipient, message_id);
    CREATE INDEX IF NOT EXISTS message_person ON message (cpr_key, message_id);
    -- A lane with what has ended, too: a case, a plan of a replay, and the deletion of an empty lane ask for it.
    CREATE INDEX IF NOT EXISTS message_lane ON message (lane_id, message_id);
    -- What did not go straight through: a message that is delivered at once never comes into these two.
    CREATE INDEX IF NOT EXISTS message_state ON message (status, message_id)
    WHERE status IN ('queued', 'parked', 'refused', 'discarded');
    CREATE INDEX IF NOT EXISTS message_fault ON message (status, detail, message_id)
    INCLUDE (recipient, municipality_cvr, sender, operation)
    WHERE status IN ('queued', 'parked', 'refused', 'discarded');
    """

KEYS: Final = """
    -- Made again, to be younger than the wider indexes above. Of two that serve alike as long as nothing is known of a
    -- table the planner takes the younger: a key must not be looked for among all that a system has sent. On a big
    -- table both are made CONCURRENTLY before (docs/operations.md).
    CREATE UNIQUE INDEX IF NOT EXISTS message_key ON message (sender, besked_id);
    ALTER TABLE message DROP CONSTRAINT IF EXISTS message_sender_besked_id_key;
    CREATE INDEX IF NOT EXISTS message_addressee ON message (recipient, besked_id);
    DROP INDEX IF EXISTS message_addressed;
    """

FAULTY: Final = (Status.QUEUED, Status.PARKED, Status.REFUSED, Status.DISCARDED)
"""The states in which a message may say what went wrong; `message_state` and `message_fault` hold them."""

SELECTIVE: Final = frozenset({*FAULTY, Status.SENDING})
"""States that an index finds; the others are those of nearly all messages."""

# Said in full, so that the index with this condition can be used.
_IN_FAULTY: Final = "status IN ('queued', 'parked', 'refused', 'discarded')"
_IN_OPEN: Final = "status IN ('queued', 'sending', 'parked')"

_WHERE: Final[Mapping[str, str]] = {
    "operations": "operation = ANY (%(operations)s)",
    "municipality": "municipality_cvr = %(municipality)s",
    "system": "(sender = %(system)s OR recipient = %(system)s)",
    "recipient": "recipient = %(recipient)s",
    "lane": "lane_id = ANY (%(lane)s)",
    "cause": "detail = %(cause)s",
    "persons": "cpr_key = ANY (%(persons)s)",
    "lowest": "message_id >= %(lowest)s",
    "highest": "message_id < %(highest)s",
}

_SHOWN: Final = """
message.message_id, message.besked_id, message.operation, message.municipality_cvr, message.sender, message.recipient,
message.status, message.detail, message.accepted_at, message.first_attempt_at, message.settled_at, message.failures,
message.lane_id, message.nemrefusions_id, sender.name AS sender_name, recipient.name AS recipient_name, lane.next_at"""

_ROWS: Final = f"""
SELECT {_SHOWN}
FROM ({{found}}) AS found JOIN message USING (message_id) JOIN lane ON lane.lane_id = message.lane_id
LEFT JOIN system AS sender ON sender.system_id = message.sender
LEFT JOIN system AS recipient ON recipient.system_id = message.recipient
ORDER BY message.message_id {{order}}"""

# Counted by municipality first: so it is one pass over the index, and nothing is sorted but the few groups.
_FAULTS: Final = """
SELECT status, cause, fault.recipient, system.name, messages, municipalities, message.accepted_at AS oldest
FROM (
    SELECT status, cause, recipient, sum(messages)::bigint AS messages, count(*) AS municipalities,
           min(message_id) AS message_id
    FROM (
        SELECT status, detail AS cause, recipient, municipality_cvr, count(*) AS messages, min(message_id) AS message_id
        FROM {found} GROUP BY status, detail, recipient, municipality_cvr
    ) AS by_municipality
    WHERE cause <> ''
    GROUP BY status, cause, recipient
) AS fault JOIN message USING (message_id, status)
LEFT JOIN system ON system.system_id = fault.recipient
ORDER BY messages DESC, status, cause, fault.recipient"""

# All that went wrong is less than one municipality's messages, and `message_fault` has it in one piece: it is read
# first, and narrowed after (OFFSET 0 keeps the planner from turning that round). A citizen's are fewer still.
_FAULTY: Final = """(
    SELECT status, detail, recipient, municipality_cvr, message_id, sender, operation
    FROM message WHERE {faulty} OFFSET 0
) AS faulty WHERE {narrowed}"""
_OF_PERSONS: Final = "message WHERE {faulty} AND ({narrowed})"

# Numbers grow with the time of acceptance, so an instant is found between them by halving: some twenty probes of the
# key, and no index on the time. Calls at the same moment may get their numbers the other way round, by seconds at most.
_FROM: Final = """
WITH RECURSIVE halving (low, high) AS (
    SELECT min(message_id), max(message_id) + 1 FROM message
    UNION ALL
    SELECT CASE WHEN probe.accepted_at < %(at)s THEN probe.message_id + 1 ELSE low END,
           CASE WHEN probe.accepted_at < %(at)s THEN high ELSE (low + high) / 2 END
    FROM halving CROSS JOIN LATERAL (
        SELECT message_id, accepted_at FROM message WHERE message_id >= (low + high) / 2 ORDER BY message_id LIMIT 1
    ) AS probe
    WHERE low < high
)
SELECT max(low) AS number FROM halving"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """
    Which messages: all that fit everything that is given.

    `system` is at either end, `recipient` at the end to which it goes; `cause` is what went wrong, as `faults` groups
    it; `persons` are a citizen's keyed hashes; `among` are the systems of one who sees no others' messages.
    """

    operations: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    municipality: str | None = None
    system: UUID | None = None
    recipient: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    cause: str | None = None
    persons: tuple[bytes, ...] = ()
    among: frozenset[UUID] | None = None


def towards(*, ksd: bool) -> tuple[str, ...]:
    """Give the operations that send to KSD, or those that send to jobcentres."""
    return tuple(name for name, one in OPERATIONS.items() if not one.lookup and one.to_ksd is ksd)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """One page: newest first; `newer` and `older` say whether there is something before and after it."""

    rows: list[Row]
    newer: bool
    older: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A filter as statements ask it: one SELECT of numbers for each of `wheres`, and the values."""

    wheres: tuple[str, ...]
    values: Mapping[str, object]

    def numbers(self, order: str, limit: int, offset: int = 0, *, also: str = "") -> str:
        """Write the statement that gives numbers in order; each of several branches is in order by itself."""
        # The limits stand in the text: with parameters the server would plan for a tenth of the table.
        cut = f"ORDER BY message_id {order} LIMIT {limit + offset:d}"
        branches = [f"(SELECT message_id FROM message WHERE {where}{also} {cut})" for where in self.wheres]
        last = f"ORDER BY message_id {order} LIMIT {limit:d} OFFSET {offset:d}"
        return f"SELECT message_id FROM ({' UNION ALL '.join(branches)}) AS branch {last}"

    def some(self, limit: int) -> str:
        """Write the statement that gives so many numbers at most, in whatever order they are found."""
        branches = [f"(SELECT message_id FROM message WHERE {where} LIMIT {limit:d})" for where in self.wheres]
        return f"SELECT message_id FROM ({' UNION ALL '.join(branches)}) AS branch LIMIT {limit:d}"


async def page(
    store: Store,
    wanted: Filter,
    *,
    before: int | None = None,
    after: int | None = None,
    number: int | None = None,
    size: int = SIZE,
) -> Leaf:
    """
    Give a page of what fits, newest first: what is older than message `before`, newer than `after`, or page `number`.

    The first page when nothing is said.
    """
    async with store.snapshot() as tx:
        asked = await _asked(tx, wanted)
        if number is not None and number > 1:
            found = await tx.one(asked.numbers("DESC", 1, (min(number, LONGEST) - 1) * size), **asked.values)
            if found is None:
                return Leaf(rows=[], newer=True, older=False)
            before = found["message_id"] + 1
        forward = after is not None and before is None
        rows = await _rows(tx, asked, before=before, after=after if forward else None, size=size + 1)
    more, rows = len(rows) > size, rows[:size]
    if forward:
        rows.reverse()
        return Leaf(rows=rows, newer=more, older=True)
    return Leaf(rows=rows, newer=before is not None, older=more)


async def oldest(store: Store, wanted: Filter, *, limit: int) -> list[Row]:
    """List what fits, oldest first."""
    async with store.snapshot() as tx:
        return await _rows(tx, await _asked(tx, wanted), before=None, after=0, size=limit)


async def every(store: Store, wanted: Filter, *, most: int) -> list[Row]:
    """Give all that fits, newest first, `most` at most."""
    async with store.snapshot() as tx:
        return await _rows(tx, await _asked(tx, wanted), before=None, after=None, size=most)


async def number_of(store: Store, wanted: Filter, *, most: int = COUNTED) -> int:
    """Count what fits; more than `most` are told as one more than that."""
    async with store.snapshot() as tx:
        asked = await _asked(tx, wanted)
        row = await tx.one(f"SELECT count(*) AS number FROM ({asked.some(most + 1)}) AS counted", **asked.values)
    return int(row["number"]) if row else 0


async def faults(store: Store, wanted: Filter) -> list[Row]:
    """
    Group what did not go straight through by state, cause and recipient, the largest group first.

    What waits and has not been tried has no cause, and is left out; so is what the filter says of a cause.
    """
    states = tuple(one for one in FAULTY if not wanted.statuses or one in wanted.statuses)
    if not states:
        return []
    async with store.snapshot() as tx:
        asked = await _asked(tx, replace(wanted, statuses=(), cause=None))
        narrowed = " OR ".join(f"({one})" for one in asked.wheres)
        found = (_OF_PERSONS if wanted.persons else _FAULTY).format(faulty=_one_of(states), narrowed=narrowed)
        return await tx.all(_FAULTS.format(found=found), **asked.values)


async def of_case(tx: Tx, nemrefusions_id: UUID) -> list[Row]:
    """Give every message of a case, oldest first, by its NemrefusionsID."""
    lanes = await tx.all(
        "SELECT lane_id FROM lane WHERE case_key = %(key)s ORDER BY lane_id", key=f"nemref:{nemrefusions_id}"
    )
    if not lanes:
        return []
    asked = _Asked(wheres=("lane_id = ANY (%(lane)s)",), values={"lane": [row["lane_id"] for row in lanes]})
    return await _rows(tx, asked, before=None, after=0, size=COUNTED)


async def _rows(tx: Tx, asked: _Asked, *, before: int | None, after: int | None, size: int) -> list[Row]:
    order = "DESC" if after is None else "ASC"
    also = " AND message_id < %(before)s" if before is not None else ""
    also += " AND message_id > %(after)s" if after is not None else ""
    ends = {name: value for name, value in (("before", before), ("after", after)) if value is not None}
    found = asked.numbers(order, size, also=also)
    return await tx.all(_ROWS.format(found=found, order=order), **asked.values, **ends)


async def _asked(tx: Tx, wanted: Filter) -> _Asked:
    """Say how a filter is asked: only what is given stands in the statement, so that indexes serve it."""
    values: dict[str, Any] = {
        "operations": list(wanted.operations) or None,
        "municipality": wanted.municipality,
        "system": wanted.system,
        "recipient": wanted.recipient,
        "cause": wanted.cause,
        "persons": list(wanted.persons) or None,
        "lowest": None if wanted.since is None else await _from(tx, wanted.since),
        "highest": None if wanted.until is None else await _from(tx, wanted.until),
    }
    values = {name: value for name, value in values.items() if value is not None}
    conditions = [_WHERE[name] for name in values if name != "system" or wanted.among is not None]
    parties = sorted(wanted.among) if wanted.among is not None else [wanted.system] if wanted.system else []
    if wanted.among is not None and not parties:
        conditions.append("false")
    values |= {f"party_{number}": party for number, party in enumerate(parties)}
    if parties:
        values["parties"] = parties
    branches = product(_parties(len(parties)), _states(wanted))
    wheres = (" AND ".join([*(one for one in branch if one), *conditions]) or "true" for branch in branches)
    return _Asked(wheres=tuple(wheres), values=values)


async def _from(tx: Tx, at: datetime) -> int:
    """Give the number of the first message that was accepted at or after an instant."""
    row = await tx.one(_FROM, at=at)
    return int(row["number"] or 0) if row else 0


def _parties(number: int) -> Iterator[str]:
    """Give a branch for each system at each end: in each the messages lie in order, and none lies in two."""
    if not number:
        yield ""
    for each in range(number):
        yield f"sender = %(party_{each})s"
        twice = " AND sender <> ALL (%(parties)s)" if number > 1 else ""
        yield f"recipient = %(party_{each})s{twice}"


def _states(wanted: Filter) -> Iterator[str]:
    """Give a branch for each state that an index finds, or one for all."""
    states = wanted.statuses or (FAULTY if wanted.cause is not None else ())
    if not states:
        yield ""
    elif set(states) <= SELECTIVE:
        for one in dict.fromkeys(states):
            yield f"{_IN_OPEN if one is Status.SENDING else _IN_FAULTY} AND status = '{one.value}'"
    else:
        yield _one_of(states)


def _one_of(states: Iterable[Status]) -> str:
    """Write a condition on the state in full, for the planner knows how many are in each."""
    return f"status IN ({', '.join(repr(one.value) for one in dict.fromkeys(states))})"
