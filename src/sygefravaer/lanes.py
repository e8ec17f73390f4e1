# SPDX-License-Identifier: MPL-2.0
"""
Order per key in SQL: what has been accepted and not yet arrived.

A lane is one recipient system, one municipality and one case. Its row is the lock: who accepts a message takes it
first, so message ids grow in commit order within a lane, and who sends holds a token and a lease on it. `open` counts
the lane's unsettled messages, so one look at the row says whether the lane is free, and settled messages, however
many, cost nothing. Only the head of a lane is ever sent.

Accepting is one statement: lane, message, and whatever row the caller wants written in the same breath (`Trail`) if
and only if the message is new. A claim takes several messages of a lane; they are sent and settled one by one, in
order. A failure hands back the one that failed and all behind it. A token that has been replaced settles nothing.

The lease follows the database's clock, since the clocks of nodes differ; everything else follows the time it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid4

from sygefravaer.clock import Clock
from sygefravaer.errors import StoreError
from sygefravaer.store import Row, Store, Trail, Tx

LEASE: Final = timedelta(seconds=60)  # longer than the delivery time-out of 40 s
RETRY_CEILING: Final = 10_800  # seconds; STAR's public retry rule
RETRY_JITTER: Final = 0.2
GIVE_UP: Final = timedelta(days=5)
REPEATS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))  # the last one is kept to
BATCH: Final = 16  # messages per claim


class Status(StrEnum):
    """Where a message is."""

    QUEUED = "queued"  # waits for its turn
    SENDING = "sending"  # claimed
    DELIVERED = "delivered"  # the receiver has it and says so
    REFUSED = "refused"  # the receiver's FEJL: final
    UNDER_WAY = "under_way"  # a sender's only: the gateway has it (G006) and is asked for the end outside the lane
    PARKED = "parked"  # nobody has answered: a person decides
    DISCARDED = "discarded"  # a person has decided against it: final


TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = {
    Status.QUEUED: frozenset({Status.SENDING}),
    Status.SENDING: frozenset(
        {Status.DELIVERED, Status.REFUSED, Status.UNDER_WAY, Status.QUEUED, Status.PARKED},
    ),
    Status.UNDER_WAY: frozenset({Status.DELIVERED, Status.REFUSED}),
    Status.PARKED: frozenset({Status.QUEUED, Status.DISCARDED}),
    Status.DELIVERED: frozenset(),
    Status.REFUSED: frozenset(),
    Status.DISCARDED: frozenset(),
}

OPEN: Final = frozenset({Status.QUEUED, Status.SENDING, Status.PARKED})
"""What still has its place in the lane."""

_LEASE_NOW: Final = "clock_timestamp()"  # the one use of the database's clock in the house

MIGRATIONS: Final = (
    """
CREATE TABLE lane (
    lane_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient uuid NOT NULL,
    municipality_cvr text NOT NULL,
    case_key text NOT NULL,
    open integer NOT NULL CHECK (open >= 0),
    parked boolean NOT NULL DEFAULT false,
    next_at timestamptz NOT NULL,
    owner uuid,
    token uuid,
    lease_until timestamptz,
    UNIQUE (recipient, municipality_cvr, case_key)
) WITH (fillfactor = 80);

CREATE INDEX lane_due ON lane (recipient, next_at) WHERE open > 0 AND NOT parked;

CREATE TABLE message (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane_id bigint NOT NULL REFERENCES lane,
    recipient uuid NOT NULL,
    municipality_cvr text NOT NULL,
    case_key text NOT NULL,
    sender uuid NOT NULL,
    besked_id uuid NOT NULL,
    operation text NOT NULL,
    korrelations_id uuid,
    reference_besked_id uuid,
    nemrefusions_id uuid,
    sags_id uuid,
    cpr_key bytea NOT NULL,
    digest bytea NOT NULL,
    body bytea NOT NULL,
    accepted_at timestamptz NOT NULL,
    call_uuid uuid,
    status text NOT NULL CHECK (
        status IN ('queued', 'sending', 'delivered', 'refused', 'under_way', 'parked', 'discarded')
    ),
    failures integer NOT NULL DEFAULT 0,
    first_attempt_at timestamptz,
    settled_at timestamptz,
    receipt bytea,
    detail text NOT NULL DEFAULT '',
    repeats integer NOT NULL DEFAULT 0,
    repeat_at timestamptz,
    UNIQUE (sender, besked_id)
) WITH (fillfactor = 80);

CREATE INDEX message_open ON message (lane_id, message_id) WHERE status IN ('queued', 'sending', 'parked');
CREATE INDEX message_repeat ON message (repeat_at) WHERE repeat_at IS NOT NULL;

CREATE TABLE attempt (
    attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id bigint NOT NULL REFERENCES message,
    municipality_cvr text NOT NULL,
    owner uuid,
    at timestamptz NOT NULL,
    outcome text NOT NULL,
    stale boolean NOT NULL DEFAULT false,
    detail text NOT NULL DEFAULT ''
);

CREATE INDEX attempt_message ON attempt (message_id);
""",
)


# --- values ---


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A message as it is handed in; `body` and `cpr_key` are sealed and hashed already."""

    recipient: UUID
    municipality_cvr: str
    case_key: str
    sender: UUID
    besked_id: UUID
    operation: str
    korrelations_id: UUID | None = None
    reference_besked_id: UUID | None = None
    nemrefusions_id: UUID | None = None
    sags_id: UUID | None = None
    cpr_key: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    body: bytes = field(repr=False)
    accepted_at: datetime
    call_uuid: UUID | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored(Entry):
    """A message as it lies in its lane; `receipt` is sealed."""

    message_id: int
    lane_id: int
    status: Status
    failures: int = 0
    first_attempt_at: datetime | None = None
    settled_at: datetime | None = None
    receipt: bytes | None = field(default=None, repr=False)
    detail: str = ""
    repeats: int = 0
    repeat_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The right and the duty to send `messages` of one lane in order, until the lease ends."""

    owner: UUID
    token: UUID
    lane_id: int
    messages: tuple[Stored, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Enqueued:
    """What came of handing a message in: `fresh` is False when another copy was there, which is then `message`."""

    message: Stored
    fresh: bool
    claim: Claim | None = None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When something that failed, or whose end is not known, is tried again."""

    ceiling: int = RETRY_CEILING
    give_up_after: timedelta = GIVE_UP
    repeats: tuple[timedelta, ...] = REPEATS

    def next_attempt(self, now: datetime, failures: int, jitter: float) -> datetime:
        """Say when a delivery that has just failed for the `failures`-th time is tried again; `jitter` is near 1."""
        return now + jitter * timedelta(seconds=min(self.ceiling, 2 ** min(failures, 30) - 1))

    def give_up(self, first_attempt_at: datetime, now: datetime) -> bool:
        """Say whether a person has to look at a message that has been tried since `first_attempt_at`."""
        return now - first_attempt_at >= self.give_up_after

    def repeat_at(self, now: datetime, repeats: int) -> datetime:
        """Say when a sender that holds G006 asks again, having asked `repeats` times."""
        return now + self.repeats[min(repeats, len(self.repeats) - 1)]


def _jitter() -> float:
    return random.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)  # noqa: S311  spreads load, guards nothing


# --- statements ---

_ENTRY: Final = tuple(column.name for column in fields(Entry))
_STORED: Final = tuple(column.name for column in fields(Stored))
_COLUMNS: Final = ", ".join(f"message.{name}" for name in _STORED)

_ENQUEUE: Final = f"""
WITH taken AS (
    INSERT INTO lane AS held (recipient, municipality_cvr, case_key, open, next_at, owner, token, lease_until)
    VALUES (%(recipient)s, %(municipality_cvr)s, %(case_key)s, 1, %(accepted_at)s, %(owner)s::uuid, %(token)s::uuid,
            CASE WHEN %(token)s::uuid IS NOT NULL THEN {_LEASE_NOW} + %(lease)s::interval END)
    ON CONFLICT (recipient, municipality_cvr, case_key) DO UPDATE SET
        open = held.open + 1,
        next_at = CASE WHEN held.open = 0 THEN excluded.next_at ELSE held.next_at END,
        owner = CASE WHEN held.open = 0 THEN excluded.owner ELSE held.owner END,
        token = CASE WHEN held.open = 0 THEN excluded.token ELSE held.token END,
        lease_until = CASE WHEN held.open = 0 THEN excluded.lease_until ELSE held.lease_until END
    RETURNING lane_id, coalesce(token = %(token)s::uuid, false) AS claimed
), fresh AS (
    INSERT INTO message (lane_id, status, {", ".join(_ENTRY)})
    SELECT lane_id, CASE WHEN claimed THEN 'sending' ELSE 'queued' END, {", ".join(f"%({name})s" for name in _ENTRY)}
    FROM taken
    ON CONFLICT (sender, besked_id) DO NOTHING
    RETURNING message_id, lane_id, status
), gate AS (SELECT FROM fresh)"""

_ENQUEUE_END: Final = """
SELECT taken.lane_id, taken.claimed, fresh.message_id, fresh.status FROM taken LEFT JOIN fresh ON true"""

_TAKE_BACK: Final = """
UPDATE lane SET
    open = open - 1,
    owner = CASE WHEN %(claimed)s THEN NULL ELSE owner END,
    token = CASE WHEN %(claimed)s THEN NULL ELSE token END,
    lease_until = CASE WHEN %(claimed)s THEN NULL ELSE lease_until END
WHERE lane_id = %(lane_id)s"""

_FIND: Final = f"SELECT {_COLUMNS} FROM message WHERE sender = %(sender)s AND besked_id = %(besked_id)s"
_GET: Final = f"SELECT {_COLUMNS} FROM message WHERE message_id = %(message_id)s"
_LIST_PARKED: Final = f"""
SELECT {_COLUMNS} FROM message
WHERE status IN ('queued', 'sending', 'parked') AND status = 'parked' ORDER BY message_id LIMIT %(limit)s"""

# Recipients with open lanes, by one index step each: a recipient that is left out costs a step, not its backlog.
_WAITING: Final = """
WITH RECURSIVE each (recipient) AS (
    (SELECT recipient FROM lane WHERE open > 0 AND NOT parked ORDER BY recipient LIMIT 1)
    UNION ALL
    SELECT (SELECT lane.recipient FROM lane WHERE open > 0 AND NOT parked AND lane.recipient > each.recipient
            ORDER BY lane.recipient LIMIT 1)
    FROM each WHERE each.recipient IS NOT NULL
), waiting AS (
    SELECT recipient FROM each WHERE recipient IS NOT NULL AND recipient <> ALL (%(avoid)s::uuid[])
)"""

_UNHELD: Final = f"open > 0 AND NOT parked AND (lease_until IS NULL OR lease_until <= {_LEASE_NOW})"

# More candidates than wanted, so that several who claim at the same instant all find something.
_CLAIM_LANES: Final = f"""{_WAITING}, candidate AS (
    SELECT found.lane_id FROM waiting CROSS JOIN LATERAL (
        SELECT lane_id, next_at FROM lane
        WHERE lane.recipient = waiting.recipient AND next_at <= %(now)s AND {_UNHELD}
        ORDER BY next_at LIMIT 4 * %(lanes)s + 8
    ) AS found
    ORDER BY found.next_at LIMIT 4 * %(lanes)s + 8
), due AS (
    SELECT lane_id, token IS NOT NULL AS lapsed FROM lane
    WHERE lane_id IN (SELECT lane_id FROM candidate) AND next_at <= %(now)s AND {_UNHELD}
    ORDER BY next_at
    LIMIT %(lanes)s
    FOR UPDATE SKIP LOCKED
)
UPDATE lane SET owner = %(owner)s, token = %(token)s, lease_until = {_LEASE_NOW} + %(lease)s::interval
FROM due WHERE lane.lane_id = due.lane_id
RETURNING lane.lane_id, due.lapsed"""

_PUT_BACK_LAPSED: Final = """
WITH left_over AS (
    SELECT message_id, row_number() OVER (PARTITION BY lane_id ORDER BY message_id) = 1 AS head
    FROM message WHERE lane_id = ANY (%(lane_ids)s) AND status = 'sending'
), back AS (
    UPDATE message SET
        status = 'queued',
        first_attempt_at = CASE WHEN head THEN coalesce(first_attempt_at, %(now)s) ELSE first_attempt_at END
    FROM left_over WHERE message.message_id = left_over.message_id
    RETURNING message.message_id, municipality_cvr
)
INSERT INTO attempt (message_id, municipality_cvr, at, outcome, detail)
SELECT message_id, municipality_cvr, %(now)s, 'unknown', 'the lease ran out' FROM back"""

# A statement of its own, after the lanes are locked: what was committed before the lock must be seen.
_CLAIM_MESSAGES: Final = f"""
WITH head AS (
    SELECT message_id FROM unnest(%(lane_ids)s::bigint[]) AS lane (lane_id) CROSS JOIN LATERAL (
        SELECT message_id FROM message
        WHERE message.lane_id = lane.lane_id AND status IN ('queued', 'sending', 'parked') AND status = 'queued'
        ORDER BY message_id LIMIT %(messages)s
    ) AS first
)
UPDATE message SET status = 'sending' FROM head WHERE message.message_id = head.message_id
RETURNING {_COLUMNS}"""

_SETTLE: Final = f"""
WITH held AS (
    UPDATE lane SET
        open = open - %(closes)s,
        parked = %(parks)s,
        next_at = %(next_at)s,
        owner = CASE WHEN %(ends)s THEN NULL ELSE owner END,
        token = CASE WHEN %(ends)s THEN NULL ELSE token END,
        lease_until = CASE WHEN %(ends)s THEN NULL ELSE {_LEASE_NOW} + %(lease)s::interval END
    WHERE lane_id = %(lane_id)s AND token = %(token)s
      AND EXISTS (SELECT FROM message WHERE message_id = %(message_id)s AND status = 'sending')
    RETURNING lane_id
), moved AS (
    UPDATE message SET
        status = %(status)s,
        receipt = coalesce(%(receipt)s, receipt),
        failures = failures + %(counts)s,
        first_attempt_at = coalesce(first_attempt_at, %(now)s),
        settled_at = CASE WHEN %(closes)s > 0 THEN %(now)s::timestamptz END,
        repeat_at = %(repeat_at)s,
        detail = %(detail)s
    FROM held WHERE message_id = %(message_id)s
), back AS (
    UPDATE message SET status = 'queued'
    FROM held
    WHERE message.lane_id = held.lane_id AND status IN ('queued', 'sending', 'parked') AND status = 'sending'
      AND message_id > %(message_id)s AND %(ends)s
), gate AS (SELECT FROM held)"""

_SETTLE_END: Final = """
INSERT INTO attempt (message_id, municipality_cvr, owner, at, outcome, stale, detail)
SELECT %(message_id)s, %(municipality_cvr)s, %(owner)s, %(now)s, %(status)s, NOT EXISTS (SELECT FROM held), %(detail)s
RETURNING stale"""

_RELEASE: Final = """
WITH held AS (
    UPDATE lane SET owner = NULL, token = NULL, lease_until = NULL, next_at = %(next_at)s
    WHERE lane_id = %(lane_id)s AND token = %(token)s
    RETURNING lane_id
), back AS (
    UPDATE message SET status = 'queued'
    FROM held
    WHERE message.lane_id = held.lane_id AND status IN ('queued', 'sending', 'parked') AND status = 'sending'
)
SELECT lane_id FROM held"""

_EXTEND: Final = f"""
UPDATE lane SET lease_until = {_LEASE_NOW} + %(lease)s::interval WHERE lane_id = %(lane_id)s AND token = %(token)s"""

_REPLAY: Final = """
WITH moved AS (
    UPDATE message SET status = 'queued', failures = 0, first_attempt_at = NULL
    WHERE message_id = %(message_id)s AND status = 'parked'
    RETURNING lane_id
)
UPDATE lane SET parked = false, next_at = %(now)s FROM moved WHERE lane.lane_id = moved.lane_id"""

_DISCARD: Final = """
WITH moved AS (
    UPDATE message SET status = 'discarded', receipt = %(receipt)s, settled_at = %(now)s, detail = %(detail)s
    WHERE message_id = %(message_id)s AND status = 'parked'
    RETURNING lane_id
)
UPDATE lane SET parked = false, open = open - 1, next_at = %(now)s FROM moved WHERE lane.lane_id = moved.lane_id"""

_REPEATS_DUE: Final = f"""
SELECT {_COLUMNS} FROM message WHERE repeat_at <= %(now)s ORDER BY repeat_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED"""

_REPEAT_NEXT: Final = """
UPDATE message SET repeats = repeats + 1, repeat_at = %(repeat_at)s WHERE message_id = %(message_id)s"""

_REPEATED: Final = """
WITH moved AS (
    UPDATE message SET
        status = %(status)s, receipt = coalesce(%(receipt)s, receipt), settled_at = %(now)s, repeat_at = NULL,
        detail = %(detail)s
    WHERE message_id = %(message_id)s AND status = 'under_way'
    RETURNING message_id
)
INSERT INTO attempt (message_id, municipality_cvr, at, outcome, stale, detail)
SELECT %(message_id)s, %(municipality_cvr)s, %(now)s, %(status)s, NOT EXISTS (SELECT FROM moved), %(detail)s
RETURNING stale"""

_DUE: Final = f"""{_WAITING}
SELECT least(
    (SELECT min(found.next_at) FROM waiting CROSS JOIN LATERAL (
        SELECT next_at FROM lane WHERE lane.recipient = waiting.recipient AND {_UNHELD} ORDER BY next_at LIMIT 1
    ) AS found),
    (SELECT min(repeat_at) FROM message WHERE repeat_at IS NOT NULL)
) AS due"""

_COUNTS: Final = """
SELECT status, count(*) AS number FROM message WHERE status IN ('queued', 'sending', 'parked') GROUP BY status
UNION ALL
SELECT 'under_way', count(*) FROM message WHERE repeat_at IS NOT NULL"""


# --- the room's verbs ---


class Lanes:
    """The lanes of one schema, with the schedule and the lease they are worked by."""

    def __init__(
        self,
        *,
        schedule: Schedule | None = None,
        lease: timedelta = LEASE,
        jitter: Callable[[], float] = _jitter,
    ) -> None:
        self.schedule = schedule or Schedule()
        self.lease = lease
        self._jitter = jitter

    async def enqueue(self, tx: Tx, entry: Entry, *, owner: UUID | None = None, trail: Trail | None = None) -> Enqueued:
        """
        Put a message at the end of its lane, and `trail` with it, in one statement.

        With an `owner` a free lane is claimed for him at once. When a copy with the same key is there, or commits
        while this one waits for it, nothing is written and the copy is given.
        """
        token = uuid4() if owner else None
        params = {name: getattr(entry, name) for name in _ENTRY}
        params |= {"owner": owner, "token": token, "lease": self.lease}
        row = await _carried(tx, _ENQUEUE, _ENQUEUE_END, params, trail)
        if row["message_id"] is None:
            await tx.run(_TAKE_BACK, lane_id=row["lane_id"], claimed=row["claimed"])
            kept = await self.find(tx, entry.sender, entry.besked_id)
            return Enqueued(message=_there(kept), fresh=False)
        known = {name: getattr(entry, name) for name in _ENTRY}
        stored = Stored(**known, message_id=row["message_id"], lane_id=row["lane_id"], status=Status(row["status"]))
        if owner is None or token is None or not row["claimed"]:
            return Enqueued(message=stored, fresh=True)
        claim = Claim(owner=owner, token=token, lane_id=stored.lane_id, messages=(stored,))
        return Enqueued(message=stored, fresh=True, claim=claim)

    async def find(self, tx: Tx, sender: UUID, besked_id: UUID) -> Stored | None:
        """Give the message with this key, or None."""
        return _stored(await tx.one(_FIND, sender=sender, besked_id=besked_id))

    async def get(self, tx: Tx, message_id: int) -> Stored | None:
        """Give the message with this number, or None."""
        return _stored(await tx.one(_GET, message_id=message_id))

    async def parked(self, tx: Tx, *, limit: int = 1000) -> list[Stored]:
        """Give what waits for a person, oldest first."""
        return [_there(_stored(row)) for row in await tx.all(_LIST_PARKED, limit=limit)]

    async def claim(
        self,
        tx: Tx,
        owner: UUID,
        *,
        now: datetime,
        lanes: int = 1,
        messages: int = BATCH,
        avoid: Collection[UUID] = (),
    ) -> list[Claim]:
        """
        Take the first messages of up to `lanes` lanes that are due, oldest first, none of them for `avoid`.

        What a lapsed lease left behind goes back first, with an attempt whose outcome is unknown.
        """
        token = uuid4()
        rows = await tx.all(
            _CLAIM_LANES, owner=owner, token=token, lease=self.lease, now=now, lanes=lanes, avoid=list(avoid)
        )
        if not rows:
            return []
        if lapsed := [row["lane_id"] for row in rows if row["lapsed"]]:
            await tx.run(_PUT_BACK_LAPSED, lane_ids=lapsed, now=now)
        lane_ids = [row["lane_id"] for row in rows]
        taken: dict[int, list[Stored]] = {lane_id: [] for lane_id in lane_ids}
        for row in await tx.all(_CLAIM_MESSAGES, lane_ids=lane_ids, messages=messages):
            taken[row["lane_id"]].append(_there(_stored(row)))
        return [
            Claim(owner=owner, token=token, lane_id=lane_id, messages=tuple(sorted(found, key=_number)))
            for lane_id, found in taken.items()
        ]

    async def settle(
        self,
        tx: Tx,
        claim: Claim,
        message: Stored,
        *,
        status: Status,
        now: datetime,
        receipt: bytes | None = None,
        detail: str = "",
        trail: Trail | None = None,
    ) -> Status | None:
        """
        Say what came of sending `message`, and write `trail` with it; give the status it has now.

        QUEUED is a failure: the message and those behind it wait for the back-off, or a person (PARKED) after five
        days. The claim ends with its last message, a failure or a parking. None: the claim was somebody else's by
        then, or the message was settled; nothing changed but the attempt log.
        """
        _check_move(Status.SENDING, status)
        failed = status is Status.QUEUED
        if failed and self.schedule.give_up(message.first_attempt_at or now, now):
            status = Status.PARKED
        next_at = self.schedule.next_attempt(now, message.failures + 1, self._jitter()) if failed else now
        params = {
            "lane_id": claim.lane_id,
            "token": claim.token,
            "owner": claim.owner,
            "lease": self.lease,
            "message_id": message.message_id,
            "municipality_cvr": message.municipality_cvr,
            "status": status.value,
            "closes": int(status not in OPEN),
            "parks": status is Status.PARKED,
            "ends": status in OPEN or message.message_id == claim.messages[-1].message_id,
            "counts": int(failed),
            "next_at": next_at,
            "repeat_at": self.schedule.repeat_at(now, 0) if status is Status.UNDER_WAY else None,
            "receipt": receipt,
            "detail": detail,
            "now": now,
        }
        row = await _carried(tx, _SETTLE, _SETTLE_END, params, trail)
        return None if row["stale"] else status

    async def release(self, tx: Tx, claim: Claim, *, next_at: datetime) -> bool:
        """Hand back what of a claim has not been settled, due at `next_at`, without counting a failure."""
        return bool(await tx.all(_RELEASE, lane_id=claim.lane_id, token=claim.token, next_at=next_at))

    async def extend(self, tx: Tx, claim: Claim) -> bool:
        """Start the lease anew; False when the claim is somebody else's by now."""
        return await tx.run(_EXTEND, lane_id=claim.lane_id, token=claim.token, lease=self.lease) > 0

    async def replay(self, tx: Tx, message_id: int, *, now: datetime) -> bool:
        """Let a parked message go again, its five days anew; False when it is not parked."""
        _check_move(Status.PARKED, Status.QUEUED)
        return await tx.run(_REPLAY, message_id=message_id, now=now) > 0

    async def discard(self, tx: Tx, message_id: int, *, receipt: bytes, now: datetime, reason: str) -> bool:
        """End a parked message for good with `receipt` (sealed), so that its lane goes on; False when not parked."""
        _check_move(Status.PARKED, Status.DISCARDED)
        return await tx.run(_DISCARD, message_id=message_id, receipt=receipt, now=now, detail=reason) > 0

    async def repeats(self, tx: Tx, *, now: datetime, limit: int = BATCH) -> list[Stored]:
        """Take what is to be asked for again; the next time to ask is set at once, so no lease is needed."""
        due = [_there(_stored(row)) for row in await tx.all(_REPEATS_DUE, now=now, limit=limit)]
        if due:
            later = [
                {"message_id": each.message_id, "repeat_at": self.schedule.repeat_at(now, each.repeats + 1)}
                for each in due
            ]
            await tx.many(_REPEAT_NEXT, later)
        return due

    async def repeated(
        self, tx: Tx, message: Stored, *, status: Status, now: datetime, receipt: bytes | None = None, detail: str = ""
    ) -> bool:
        """Settle a message whose end a repeat has brought: DELIVERED or REFUSED; False when it was settled before."""
        _check_move(Status.UNDER_WAY, status)
        row = await tx.one(
            _REPEATED,
            message_id=message.message_id,
            municipality_cvr=message.municipality_cvr,
            status=status.value,
            receipt=receipt,
            now=now,
            detail=detail,
        )
        return row is not None and not row["stale"]

    async def due(self, tx: Tx, *, avoid: Collection[UUID] = ()) -> datetime | None:
        """Say when the next thing is due that nobody holds, none of it for `avoid`; None when there is nothing."""
        row = await tx.one(_DUE, avoid=list(avoid))
        due: datetime | None = row["due"] if row else None
        return due

    async def in_flight(self, tx: Tx) -> int:
        """Count what is claimed at this moment."""
        return (await self.counts(tx))[Status.SENDING]

    async def counts(self, tx: Tx) -> dict[Status, int]:
        """Count what has not ended, by status."""
        found = {row["status"]: row["number"] for row in await tx.all(_COUNTS)}
        return {status: found.get(status.value, 0) for status in (*sorted(OPEN), Status.UNDER_WAY)}


async def _carried(tx: Tx, body: str, end: str, params: Mapping[str, object], trail: Trail | None) -> Row:
    if trail:
        row = await tx.one(f"{body}, trail AS ({trail.statement}){end}", **params, **trail.params)
    else:
        row = await tx.one(body + end, **params)
    return row or {}


def _check_move(source: Status, target: Status) -> None:
    if target not in TRANSITIONS[source]:
        raise ValueError(f"A message does not go from {source} to {target}.")


def _number(message: Stored) -> int:
    return message.message_id


def _stored(row: Row | None) -> Stored | None:
    if row is None:
        return None
    known = {name: row[name] for name in _STORED}
    known["status"] = Status(known["status"])
    return Stored(**known)


def _there(stored: Stored | None) -> Stored:
    if stored is None:
        raise LookupError("A message that was just seen is gone.")
    return stored


# --- the loop that empties lanes ---

POLL: Final = 1.0  # seconds of machine time between looks for what another process left behind

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one attempt came to. QUEUED is a failure, PARKED is for a person; `receipt` is sealed."""

    status: Status
    receipt: bytes | None = None
    detail: str = ""


Deliver = Callable[[Stored], Awaitable[Verdict]]
Settled = Callable[[Tx, Stored, Status, Verdict], Awaitable[None]]


async def _nothing_more(_tx: Tx, _message: Stored, _status: Status, _verdict: Verdict) -> None:
    """Leave the settlement at that."""


class Pump:
    """
    Claims what is due, sends it with no transaction open, settles it; and asks again for what is under way.

    `deliver` makes one attempt, in less time than the lease. For a message that is UNDER_WAY (a repeat) a verdict of
    UNDER_WAY or QUEUED means: ask again later. `settled` is called in the transaction that settles a message.
    """

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        deliver: Deliver,
        *,
        clock: Clock,
        concurrency: int = 8,
        settled: Settled = _nothing_more,
        poll: float = POLL,
    ) -> None:
        self.owner = uuid4()
        self._store = store
        self._lanes = lanes
        self._deliver = deliver
        self._settled = settled
        self._clock = clock
        self._concurrency = concurrency
        self._poll = poll
        self._wake = asyncio.Event()
        self._stopping = False
        self._work: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look at once whether something is due."""
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`; a database that is away is waited for."""
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    busy = await self._take()
                    due = None if busy else await self._due()
                except StoreError as error:
                    log.warning("pump.store_unavailable", extra={"error": error.code})
                    busy, due = False, None
                if not busy or len(self._work) >= self._concurrency:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._clock.sleep_until(due, wake=self._wake), self._poll)
            while self._work:
                await asyncio.wait(self._work)
        finally:
            for task in self._work:
                task.cancel()

    def stop(self) -> None:
        """Take nothing more; `run` returns when what is being sent has been settled, and hands back the rest."""
        self._stopping = True
        self._wake.set()

    async def _take(self) -> bool:
        """Start on what is due, as far as there is room; say whether there was anything."""
        now, room = self._clock.now(), self._concurrency - len(self._work)
        if room <= 0:
            return True
        async with self._store.tx() as tx:
            claims = await self._lanes.claim(tx, self.owner, now=now, lanes=room)
            again = await self._lanes.repeats(tx, now=now, limit=room - len(claims)) if room > len(claims) else []
        for claim in claims:
            self._start(self._carry(claim))
        for message in again:
            self._start(self._repeat(message))
        return bool(claims or again)

    async def _due(self) -> datetime | None:
        async with self._store.read() as tx:
            return await self._lanes.due(tx)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The lease ends what this attempt began: the message goes again.
            log.error("pump.settle_failed", exc_info=error)

    async def _carry(self, claim: Claim) -> None:
        for message in claim.messages:
            if self._stopping:
                async with self._store.tx() as tx:
                    await self._lanes.release(tx, claim, next_at=self._clock.now())
                return
            verdict = await self._attempt(message)
            async with self._store.tx() as tx:
                status = await self._lanes.settle(
                    tx,
                    claim,
                    message,
                    status=verdict.status,
                    now=self._clock.now(),
                    receipt=verdict.receipt,
                    detail=verdict.detail,
                )
                if status is not None:
                    await self._settled(tx, message, status, verdict)
            if status is None or status in OPEN:
                return

    async def _repeat(self, message: Stored) -> None:
        verdict = await self._attempt(message)
        if verdict.status not in TRANSITIONS[Status.UNDER_WAY]:
            return
        async with self._store.tx() as tx:
            if await self._lanes.repeated(
                tx,
                message,
                status=verdict.status,
                now=self._clock.now(),
                receipt=verdict.receipt,
                detail=verdict.detail,
            ):
                await self._settled(tx, message, verdict.status, verdict)

    async def _attempt(self, message: Stored) -> Verdict:
        try:
            return await self._deliver(message)
        except Exception as error:
            # Whatever an attempt breaks on, its message keeps its place and its lane waits.
            log.exception("pump.attempt_failed", extra={"operation": message.operation})
            return Verdict(status=Status.QUEUED, detail=type(error).__name__)
