# SPDX-License-Identifier: MPL-2.0
"""
What waits for a person: messages that nobody has answered, by cause, and what a person does with them.

A replay is planned first. The plan is a pure function of what was read; it shows per lane what goes and where, what
waits behind it, and what speaks against it. Its digest covers all of that but the messages behind, which go along
whatever comes, so a plan is carried out as it was shown or not at all. `docs/decisions/0013-routes.md` has the rules.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sygefravaer import agreements, audit, failpoint
from sygefravaer.agreements import Route
from sygefravaer.contract.messages import SendAnmodningForlaengelseRequest, SendHaendelseSygefravaerssagRequest
from sygefravaer.contract.operations import OPERATIONS, Environment, operation_by
from sygefravaer.delivery import ways
from sygefravaer.delivery.carrying import fixed, owe
from sygefravaer.delivery.nodes import call
from sygefravaer.delivery.sealed import RECEIPT, read_body
from sygefravaer.errors import NoSuchMessage, NotParked, PlanChanged, SygefravaerError, UsageError
from sygefravaer.lanes import Lanes, Stored
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import Vault

MOST: Final = 10_000  # lanes in one plan
DIGITS: Final = 8  # a personal number has ten, a date of birth written out has eight
SHOWN: Final = 100  # numbers of messages behind, that a plan lists of a lane

_EVENT: Final = operation_by(SendHaendelseSygefravaerssagRequest).name
_WITH_VERSION: Final = frozenset({_EVENT, operation_by(SendAnmodningForlaengelseRequest).name})

_GROUPS: Final = """
SELECT message.detail AS cause, message.recipient, system.name, count(*) AS messages,
       count(DISTINCT message.municipality_cvr) AS municipalities, min(message.accepted_at) AS oldest,
       count(DISTINCT message.lane_id) AS lanes, sum(lane.open - 1)::bigint AS behind
FROM message JOIN lane ON lane.lane_id = message.lane_id
LEFT JOIN system ON system.system_id = message.recipient
WHERE message.status IN ('queued', 'sending', 'parked') AND message.status = 'parked'
  AND (%(municipality)s::text IS NULL OR message.municipality_cvr = %(municipality)s)
  AND (%(recipient)s::uuid IS NULL OR message.recipient = %(recipient)s)
  AND (%(cvr)s::text IS NULL OR message.municipality_cvr = %(cvr)s OR system.vendor_cvr = %(cvr)s)
GROUP BY message.detail, message.recipient, system.name
ORDER BY messages DESC, cause, message.recipient"""

_SELECTED: Final = f"""
SELECT message.message_id, message.lane_id, message.besked_id, message.operation, message.municipality_cvr,
       message.recipient, message.detail AS cause, message.accepted_at, message.body, {ways.MAY_HAVE} AS may_have,
       lane.open - 1 AS behind,
       (SELECT count(*) FROM attempt WHERE attempt.message_id = message.message_id) AS attempts
FROM message JOIN lane ON lane.lane_id = message.lane_id
WHERE message.status IN ('queued', 'sending', 'parked') AND message.status = 'parked'
  AND (%(ids)s::bigint[] IS NULL OR message.message_id = ANY (%(ids)s))
  AND (%(cause)s::text IS NULL OR message.detail = %(cause)s)
  AND (%(municipality)s::text IS NULL OR message.municipality_cvr = %(municipality)s)
  AND (%(recipient)s::uuid IS NULL OR message.recipient = %(recipient)s)
ORDER BY message.message_id LIMIT %(limit)s"""

_BEHIND: Final = """
SELECT lane_id, (array_agg(message_id ORDER BY message_id))[:%(shown)s] AS ids
FROM message WHERE lane_id = ANY (%(lane_ids)s) AND status IN ('queued', 'sending', 'parked') AND status = 'queued'
GROUP BY lane_id"""

# One pass for the whole plan: later events of the cases, in whichever recipient's lane they are.
_LATER: Final = """
SELECT mine.lane_id, later.message_id, later.body
FROM lane AS mine
JOIN lane AS any_lane ON any_lane.municipality_cvr = mine.municipality_cvr AND any_lane.case_key = mine.case_key
JOIN message AS later ON later.lane_id = any_lane.lane_id
WHERE mine.lane_id = ANY (%(lane_ids)s) AND later.operation = %(event)s
  AND later.message_id > %(first)s AND later.status NOT IN ('refused', 'discarded')
ORDER BY later.message_id"""

_LOCK: Final = """
SELECT message.status, (SELECT count(*) FROM attempt WHERE attempt.message_id = message.message_id) AS attempts
FROM message WHERE message_id = %(message_id)s FOR UPDATE OF message"""

_REPLAYED: Final = """
INSERT INTO replay (message_id, municipality_cvr, at, who, plan, recipient)
VALUES (%(message_id)s, %(municipality_cvr)s, %(now)s, %(who)s, %(plan)s, %(recipient)s)"""

_KEEP_PLAN: Final = """
INSERT INTO plan (digest, kind, asked, made_at) VALUES (%(digest)s, %(kind)s, %(asked)s::jsonb, %(now)s)
ON CONFLICT (digest) DO UPDATE SET asked = EXCLUDED.asked, made_at = EXCLUDED.made_at"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """
    Which parked messages: all that fit what is given.

    `duplicates`: also those that go to another system than one that may have them already, so that both might.
    """

    ids: tuple[int, ...] = ()
    cause: str | None = None
    recipient: UUID | None = None
    municipality: str | None = None
    duplicates: bool = False

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return asdict(self) | {"ids": list(self.ids), "recipient": self.recipient and str(self.recipient)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Selection:
        """Read what `plain` gave."""
        recipient = plain["recipient"]
        return cls(**{**plain, "ids": tuple(plain["ids"]), "recipient": UUID(recipient) if recipient else None})


class Act(StrEnum):
    """What is done with a lane."""

    REPLAY = "replay"  # the message goes again to the system it was for
    MOVE = "move"  # it goes to the system of today's route, with what lies behind it
    HOLD = "hold"  # it stays parked; `held` says why


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What was read of one parked message; `way` is today's route, `barred` why it cannot go to that system."""

    message_id: int
    lane_id: int
    besked_id: UUID
    operation: str
    municipality_cvr: str
    cause: str
    accepted_at: datetime
    recipient: UUID
    way: Route | None
    may_have: bool
    attempts: int
    waits: int
    behind: tuple[int, ...]
    barred: str
    closed_by: int | None
    version: tuple[str, int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What happens to one lane, and what speaks against it."""

    act: Act
    message_id: int
    lane_id: int
    besked_id: UUID
    operation: str
    municipality_cvr: str
    cause: str
    accepted_at: datetime
    recipient: UUID
    goes_to: UUID | None
    attempts: int
    held: str
    findings: tuple[str, ...]
    waits: int
    behind: tuple[int, ...]

    def shown(self) -> dict[str, Any]:
        """Give what the digest covers: all but what waits behind, which grows while the lane stands still."""
        plain = self.plain()
        return {name: plain[name] for name in plain if name not in {"waits", "behind"}}

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return asdict(self) | {
            "act": self.act.value,
            "besked_id": str(self.besked_id),
            "accepted_at": self.accepted_at.isoformat(),
            "recipient": str(self.recipient),
            "goes_to": self.goes_to and str(self.goes_to),
            "findings": list(self.findings),
            "behind": list(self.behind),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a replay would do, lane by lane; `digest` is the plan's name."""

    selection: Selection
    steps: tuple[Step, ...]

    @property
    def digest(self) -> str:
        """The same for two plans that show the same."""
        shown = {"selection": self.selection.plain(), "steps": [step.shown() for step in self.steps]}
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        """How many lanes are replayed, moved and held."""
        found = Counter(step.act.value for step in self.steps)
        return {act.value: found[act.value] for act in Act}

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it: also what `run` takes as a file."""
        return {
            "plan": self.digest,
            "kind": "replay",
            "selection": self.selection.plain(),
            "counts": self.counts,
            "steps": [step.plain() for step in self.steps],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What came of a plan: the numbers that were let go, moved first or not, and which were not, each with why."""

    replayed: tuple[int, ...]
    moved: tuple[int, ...]
    left: tuple[tuple[int, str], ...]


CHANGED: Final = "it has changed since the plan was read"
BUSY: Final = "the lane it goes to is held just now"


def plan_of(selection: Selection, found: Sequence[Found]) -> Plan:
    """Make the plan from what was read. Pure."""
    versions = Counter(one.version for one in found if one.version is not None)
    return Plan(selection=selection, steps=tuple(_step(one, selection, versions) for one in found))


def _step(one: Found, selection: Selection, versions: Mapping[tuple[str, int], int]) -> Step:
    moves = one.way is not None and one.way.system_id != one.recipient
    findings, held = [], ""
    if one.way is None:
        held = ways.NO_ROUTE
    elif moves:
        findings.append("changed route: it goes to another system than it was accepted for")
        held = one.barred
    if one.may_have and moves:
        findings.append("duplicate: the system it was sent to may have it, and the new one does not know of that")
        held = held or ("" if selection.duplicates else "another system may have it already")
    elif one.may_have:
        findings.append("duplicate: the receiver may have it; he knows it by its BeskedID")
    if one.version is not None and versions.get(one.version, 0) > 1:
        findings.append(f"duplicate: {versions[one.version]} parked messages of the case have version {one.version[1]}")
    if one.closed_by is not None:
        findings.append(f"closed case: message {one.closed_by}, accepted later, says that it has ended")
    return Step(
        act=Act.HOLD if held else Act.MOVE if moves else Act.REPLAY,
        message_id=one.message_id,
        lane_id=one.lane_id,
        besked_id=one.besked_id,
        operation=one.operation,
        municipality_cvr=one.municipality_cvr,
        cause=one.cause,
        accepted_at=one.accepted_at,
        recipient=one.recipient,
        goes_to=one.way.system_id if one.way else None,
        attempts=one.attempts,
        held=held,
        findings=tuple(findings),
        waits=one.waits,
        behind=one.behind,
    )


def check_words(text: str, what: str) -> str:
    """Refuse words for the record that hold digits as a personal number has them; raises `UsageError`."""
    if not text.strip():
        raise UsageError("WordsMissing", f"{what} is empty; the record needs it.")
    if sum(letter.isdigit() for letter in text) >= DIGITS:
        raise UsageError(
            "WordsHoldNumber",
            f"{what} holds eight digits or more, and nobody's number may stand in the record.",
            try_this="Name the message by its number alone, and no citizen.",
        )
    return text.strip()


class Parked:
    """Shows what is parked, plans and runs replays, discards."""

    def __init__(self, *, store: Store, vault: Vault, environment: Environment, lanes: Lanes | None = None) -> None:
        self._store = store
        self._vault = vault
        self._environment = environment
        self._lanes = lanes or Lanes()

    async def groups(
        self, *, municipality: str | None = None, recipient: UUID | None = None, cvr: str | None = None
    ) -> list[Row]:
        """
        Group what is parked by cause and recipient, the largest first.

        `cvr`: what an organisation may see, of its municipality or for its systems.
        """
        async with self._store.read() as tx:
            return await tx.all(_GROUPS, municipality=municipality, recipient=recipient, cvr=cvr)

    # --- replay ---

    async def plan(self, selection: Selection, *, now: datetime) -> Plan:
        """
        Say what a replay of these would do, and keep what was asked under the plan's digest.

        Raises `NotParked` when one that was named by its number is not parked.
        """
        async with self._store.snapshot() as tx:
            plan = await self._read(tx, selection, now)
        if len(plan.steps) < len(set(selection.ids)):
            raise NotParked
        async with self._store.read() as tx:
            await keep_plan(tx, plan.digest, "replay", plan.selection.plain(), now=now)
        return plan

    async def run(self, digest: str, selection: Selection, *, who: str, now: datetime) -> Done:
        """
        Carry out the plan of this digest, lane by lane; raises `PlanChanged` when it would not be the same plan now.

        A lane that changes, or whose new lane is held, in the moment between is left and told.
        """
        check_words(who, "The name of who does it")
        async with self._store.snapshot() as tx:
            plan = await self._read(tx, selection, now)
        if plan.digest != digest:
            raise PlanChanged
        replayed: list[int] = []
        moved: list[int] = []
        left: list[tuple[int, str]] = []
        for step in plan.steps:
            why = step.held
            if step.act is not Act.HOLD:
                async with self._store.tx() as tx:
                    why = await self._go(tx, step, digest, selection, who=who, now=now)
                    failpoint.reach("replay.before_commit")
                failpoint.reach("replay.after_commit")
            if why:
                left.append((step.message_id, why))
            else:
                (moved if step.act is Act.MOVE else replayed).append(step.message_id)
        await call(self._store)
        return Done(replayed=tuple(replayed), moved=tuple(moved), left=tuple(left))

    async def _read(self, tx: Tx, selection: Selection, now: datetime) -> Plan:
        rows = await tx.all(
            _SELECTED,
            ids=list(selection.ids) or None,
            cause=selection.cause,
            municipality=selection.municipality,
            recipient=selection.recipient,
            limit=MOST,
        )
        lane_ids = [row["lane_id"] for row in rows]
        behind = {row["lane_id"]: row["ids"] for row in await tx.all(_BEHIND, lane_ids=lane_ids, shown=SHOWN)}
        first = min((row["message_id"] for row in rows), default=0)
        later = await tx.all(_LATER, lane_ids=lane_ids, event=_EVENT, first=first) if rows else []
        found = [
            await self._found(tx, row, behind.get(row["lane_id"], ()), self._closing(row, later), now) for row in rows
        ]
        return plan_of(selection, found)

    async def _found(self, tx: Tx, row: Row, behind: Iterable[int], closed_by: int | None, now: datetime) -> Found:
        way = await self._route(tx, row["operation"], row["municipality_cvr"], now)
        moves = way is not None and way.system_id != row["recipient"]
        plain = {name: row[name] for name in Found.__dataclass_fields__ if name in row and name != "behind"}
        return Found(
            **plain,
            way=way,
            waits=row["behind"],
            behind=tuple(behind),
            barred=ways.unfit(self._vault, row, way) if way is not None and moves else "",
            closed_by=closed_by,
            version=self._version(row),
        )

    async def _route(self, tx: Tx, operation: str, municipality_cvr: str, now: datetime) -> Route | None:
        return await agreements.route(
            tx,
            environment=self._environment,
            service=OPERATIONS[operation].service,
            municipality_cvr=municipality_cvr,
            now=now,
        )

    def _closing(self, row: Row, later: Sequence[Row]) -> int | None:
        """Find the event, accepted after this message, that ends its case. Here is what the gateway reads of a case."""
        for event in later:
            if event["lane_id"] == row["lane_id"] and event["message_id"] > row["message_id"]:
                read = self._event(_EVENT, event["body"])
                if read is not None and getattr(read, "Haendelsestype", "") == "AFSLUTTET":
                    return int(event["message_id"])
        return None

    def _version(self, row: Row) -> tuple[str, int] | None:
        """Read which version of which case a message carries, if it carries one."""
        read = self._event(row["operation"], row["body"]) if row["operation"] in _WITH_VERSION else None
        case = getattr(read, "Sygefravaerssag", None)
        return None if case is None else (f"{row['operation']} {case.SagsID}", case.SagsVersion)

    def _event(self, operation: str, body: bytes) -> object | None:
        try:
            return read_body(self._vault, OPERATIONS[operation], body)
        except SygefravaerError:  # a body that cannot be opened stays parked for that, and says nothing of its case
            return None

    async def _go(self, tx: Tx, step: Step, plan: str, selection: Selection, *, who: str, now: datetime) -> str:
        """Let one parked message go, in one transaction; say why not if it does not."""
        lock = await tx.one(_LOCK, message_id=step.message_id)
        way = await self._route(tx, step.operation, step.municipality_cvr, now)
        message = await self._lanes.get(tx, step.message_id)
        if lock is None or message is None or way is None or lock["attempts"] != step.attempts:
            return CHANGED
        if lock["status"] != "parked" or way.system_id != step.goes_to or message.recipient != step.recipient:
            return CHANGED
        if step.act is Act.MOVE:
            if why := await self._move(tx, step, way, selection, who=who, now=now):
                return why
        else:
            await self._lanes.replay(tx, step.message_id, now=now)
        await tx.run(
            _REPLAYED,
            message_id=step.message_id,
            municipality_cvr=step.municipality_cvr,
            now=now,
            who=who,
            plan=plan,
            recipient=way.system_id,
        )
        message = replace(message, recipient=way.system_id)
        await _decided(tx, audit.Event.MESSAGE_REPLAYED, message, who=who, reason="", now=now, plan=plan)
        return ""

    async def _move(self, tx: Tx, step: Step, way: Route, selection: Selection, *, who: str, now: datetime) -> str:
        """Move a parked message, and what lies behind it, to another system's lane."""
        forced = {step.message_id} if selection.duplicates else frozenset()
        moving, why = ways.movable(self._vault, await ways.in_lane(tx, step.lane_id), way, forced=forced)
        if step.message_id not in {row["message_id"] for row in moving}:
            return why
        if not await ways.move(tx, self._lanes, step.lane_id, moving, way, who=who, now=now):
            return BUSY
        return ""

    # --- discard ---

    async def discard(self, message_id: int, *, who: str, reason: str, now: datetime) -> None:
        """End a parked message with FEJL G009, so that its lane goes on; its sender must still hear of it."""
        who, reason = check_words(who, "The name of who does it"), check_words(reason, "The reason")
        async with self._store.tx() as tx:
            message = await self._lanes.get(tx, message_id)
            if message is None:
                raise NoSuchMessage
            receipt = self._vault.seal(fixed(OPERATIONS[message.operation], "G009"), context=RECEIPT)
            if not await self._lanes.discard(tx, message_id, receipt=receipt, now=now, reason=reason):
                raise NotParked
            await owe(tx, message, now)
            await _decided(tx, audit.Event.MESSAGE_DISCARDED, message, who=who, reason=reason, now=now)
            failpoint.reach("discard.before_commit")
        failpoint.reach("discard.after_commit")
        await call(self._store)


async def _decided(
    tx: Tx, event: audit.Event, message: Stored, *, who: str, reason: str, now: datetime, plan: str | None = None
) -> None:
    await audit.record(
        tx,
        event,
        now=now,
        system=message.recipient,
        municipality_cvr=message.municipality_cvr,
        operation=message.operation,
        besked_id=message.besked_id,
        cpr_key=message.cpr_key,
        reason=reason,
        detail={"by": who} | ({} if plan is None else {"plan": plan}),
    )


async def keep_plan(tx: Tx, digest: str, kind: str, asked: Mapping[str, Any], *, now: datetime) -> None:
    """Keep what a plan was asked for under its digest."""
    await tx.run(_KEEP_PLAN, digest=digest, kind=kind, asked=json.dumps(asked), now=now)


async def kept_plan(tx: Tx, digest: str, kind: str) -> tuple[str, Mapping[str, Any]] | None:
    """Find what the plan whose digest begins like this was asked for, if there is exactly one."""
    rows = await tx.all(
        "SELECT digest, asked FROM plan WHERE kind = %(kind)s AND starts_with(digest, %(digest)s) LIMIT 2",
        kind=kind,
        digest=digest,
    )
    return (rows[0]["digest"], rows[0]["asked"]) if len(rows) == 1 else None
