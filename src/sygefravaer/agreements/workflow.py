# SPDX-License-Identifier: MPL-2.0
"""
How an agreement comes about and ends: drafted and requested by a vendor, decided by the municipality.

A change is a new agreement that names the one it replaces; the old one stays in force until the new one begins. That an
agreement has begun or expired is its period, never its status. A version guards each step: of two decisions at once the
first counts, and the second is told that the agreement has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid4

from sygefravaer import audit, mail
from sygefravaer.agreements import catalogue, organisations, preflight
from sygefravaer.agreements.actor import Actor
from sygefravaer.agreements.decision import Status
from sygefravaer.agreements.organisations import System
from sygefravaer.agreements.reading import danish_day
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.contract.values import MUNICIPALITIES, municipality_name
from sygefravaer.errors import (
    Conflict,
    MoveRefused,
    NotThere,
    NotVisible,
    PreflightFailed,
    Taken,
    UsageError,
    VersionChanged,
)
from sygefravaer.store import Row, Tx


class Move(StrEnum):
    """A step that somebody takes with an agreement."""

    REQUEST = "request"
    TRY = "try"
    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    TERMINATE = "terminate"
    SUSPEND = "suspend"
    RESUME = "resume"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What a step leads from and to, which row it leaves, and whether it needs a reason."""

    source: frozenset[Status]
    target: Status
    event: audit.Event
    reason: bool = False


TURNS: Final[Mapping[Move, Turn]] = {
    Move.REQUEST: Turn(
        source=frozenset({Status.DRAFT}), target=Status.REQUESTED, event=audit.Event.AGREEMENT_REQUESTED
    ),
    Move.TRY: Turn(source=frozenset({Status.DRAFT}), target=Status.APPROVED, event=audit.Event.AGREEMENT_TRIED),
    Move.APPROVE: Turn(
        source=frozenset({Status.REQUESTED}), target=Status.APPROVED, event=audit.Event.AGREEMENT_APPROVED
    ),
    Move.REJECT: Turn(
        source=frozenset({Status.REQUESTED}), target=Status.REJECTED, event=audit.Event.AGREEMENT_REJECTED, reason=True
    ),
    Move.CANCEL: Turn(
        source=frozenset({Status.DRAFT, Status.REQUESTED}),
        target=Status.CANCELLED,
        event=audit.Event.AGREEMENT_CANCELLED,
    ),
    Move.TERMINATE: Turn(
        source=frozenset({Status.APPROVED, Status.SUSPENDED}),
        target=Status.TERMINATED,
        event=audit.Event.AGREEMENT_TERMINATED,
        reason=True,
    ),
    Move.SUSPEND: Turn(
        source=frozenset({Status.APPROVED}),
        target=Status.SUSPENDED,
        event=audit.Event.AGREEMENT_SUSPENDED,
        reason=True,
    ),
    Move.RESUME: Turn(
        source=frozenset({Status.SUSPENDED}), target=Status.APPROVED, event=audit.Event.AGREEMENT_RESUMED
    ),
}

_ADVICE: Final[Mapping[Move, mail.Kind]] = {
    Move.REQUEST: mail.Kind.AGREEMENT_REQUESTED,
    Move.APPROVE: mail.Kind.AGREEMENT_APPROVED,
    Move.REJECT: mail.Kind.AGREEMENT_REJECTED,
}


@dataclass(frozen=True, kw_only=True)
class Contract:
    """An agreement as it is administered. `phase` is its status, or what its period makes of an approved one."""

    agreement_id: UUID
    system_id: UUID
    system: str
    vendor_cvr: str
    service: Service
    municipality_cvr: str
    status: Status
    phase: str
    valid_from: date
    valid_to: date | None
    replaces: UUID | None
    requested_by: str | None
    requested_at: datetime | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    version: int
    created_at: datetime
    changed_at: datetime


_COLUMNS: Final = """
a.agreement_id, a.system_id, s.name AS system, s.vendor_cvr, a.service, a.municipality_cvr, a.status, a.valid_from,
a.valid_to, a.replaces, a.requested_by, a.requested_at, a.decided_by, a.decided_at, a.reason, a.version, a.created_at,
a.changed_at"""

_ONE: Final = f"""
SELECT {_COLUMNS} FROM agreement a JOIN system s ON s.system_id = a.system_id
WHERE a.agreement_id = %(agreement_id)s AND s.environment = %(environment)s"""

# Whoever is not the vendor does not see what is only a draft.
_LIST: Final = f"""
SELECT {_COLUMNS} FROM agreement a JOIN system s ON s.system_id = a.system_id AND s.environment = %(environment)s
WHERE (%(cvr)s::text IS NULL OR s.vendor_cvr = %(cvr)s OR (a.municipality_cvr = %(cvr)s AND a.status <> 'draft'))
  AND (%(municipality)s::text IS NULL OR a.municipality_cvr = %(municipality)s)
  AND (%(system_id)s::uuid IS NULL OR a.system_id = %(system_id)s)
  AND (%(status)s::text IS NULL OR a.status = %(status)s)
  AND (%(replaces)s::uuid IS NULL OR a.replaces = %(replaces)s)
  AND (%(after)s::uuid IS NULL OR (a.created_at, a.agreement_id) >
       (SELECT created_at, agreement_id FROM agreement WHERE agreement_id = %(after)s))
ORDER BY a.created_at, a.agreement_id LIMIT %(limit)s"""

_DRAFT: Final = """
INSERT INTO agreement (agreement_id, system_id, service, municipality_cvr, status, valid_from, valid_to, replaces,
                       created_at, changed_at)
VALUES (%(agreement_id)s, %(system_id)s, %(service)s, %(municipality_cvr)s, 'draft', %(valid_from)s, %(valid_to)s,
        %(replaces)s, %(now)s, %(now)s)"""

_MOVE: Final = """
UPDATE agreement SET status = %(status)s, version = version + 1, changed_at = %(now)s,
       reason = coalesce(%(reason)s, reason),
       requested_by = CASE WHEN %(asks)s THEN %(who)s ELSE requested_by END,
       requested_at = CASE WHEN %(asks)s THEN %(now)s ELSE requested_at END,
       decided_by = CASE WHEN %(asks)s THEN decided_by ELSE %(who)s END,
       decided_at = CASE WHEN %(asks)s THEN decided_at ELSE %(now)s END
WHERE agreement_id = %(agreement_id)s"""

_REPLACE: Final = """
UPDATE agreement SET version = version + 1, changed_at = %(now)s,
       status = CASE WHEN valid_from >= %(first)s THEN 'terminated' ELSE status END,
       valid_to = CASE WHEN valid_from >= %(first)s THEN valid_to
                       ELSE least(coalesce(valid_to, %(first)s::date - 1), %(first)s::date - 1) END
WHERE agreement_id = %(old)s AND status IN ('approved', 'suspended')
RETURNING agreement_id, system_id, municipality_cvr"""


async def draft(
    tx: Tx,
    *,
    of: System,
    service: Service,
    municipality_cvr: str,
    valid_from: date,
    valid_to: date | None = None,
    replaces: UUID | None = None,
    by: Actor,
    now: datetime,
) -> Contract:
    """
    Begin a request, or with `replaces` a change of an agreement that stays in force meanwhile.

    Raises `UsageError`, `NotVisible` when the service is not for the system's display groups.
    """
    if municipality_cvr not in MUNICIPALITIES:
        raise UsageError("NotAMunicipality", "The CVR number does not belong to one of the 98 municipalities.")
    if valid_to is not None and valid_to < max(valid_from, danish_day(now)):
        raise UsageError("PeriodWrong", "The last day is before the first, or past.")
    if catalogue.group_of(service) not in of.display_groups:
        raise NotVisible
    if replaces is not None:
        old = await contract(tx, replaces, environment=of.environment, now=now)
        if old is None or (old.vendor_cvr, old.municipality_cvr) != (of.vendor_cvr, municipality_cvr):
            raise NotThere(foreign=old is not None)
        if old.status not in {Status.APPROVED, Status.SUSPENDED}:
            raise MoveRefused("Only an agreement that is approved is changed.")
    agreement_id = uuid4()
    await tx.run(
        _DRAFT,
        agreement_id=agreement_id,
        system_id=of.system_id,
        service=service.value,
        municipality_cvr=municipality_cvr,
        valid_from=valid_from,
        valid_to=valid_to,
        replaces=replaces,
        now=now,
    )
    made = await contract(tx, agreement_id, environment=of.environment, now=now)
    if made is None:
        raise Conflict
    await _tell(tx, audit.Event.AGREEMENT_DRAFTED, made, by, now)
    return made


async def move(
    tx: Tx,
    agreement_id: UUID,
    step: Move,
    *,
    version: int,
    environment: Environment,
    reason: str | None = None,
    by: Actor,
    now: datetime,
    machine: datetime,
) -> Contract:
    """
    Take a step with an agreement that stands at `version`.

    Raises `NotThere`, `VersionChanged`, `MoveRefused`, `UsageError` (a reason is missing); a request also
    `PreflightFailed` and `Taken`. A trial is for a test environment, where no real citizen's data is.
    """
    await tx.one("SELECT FROM agreement WHERE agreement_id = %(id)s FOR UPDATE", id=agreement_id)
    before = await contract(tx, agreement_id, environment=environment, now=now)
    if before is None:
        raise NotThere
    if before.version != version:
        raise VersionChanged
    turn = TURNS[step]
    _check(before, step, reason, danish_day(now))
    if step is Move.TRY and environment is not Environment.TEST:
        raise MoveRefused("An agreement in production is the municipality's to approve.")
    if step in {Move.REQUEST, Move.TRY}:
        checks = await preflight.checks(tx, agreement_id, now=now, machine=machine)
        if any(check.blocking and not check.passed for check in checks):
            raise PreflightFailed(tuple(check.plain() for check in checks))
    try:
        await tx.run(
            _MOVE,
            agreement_id=agreement_id,
            status=turn.target.value,
            asks=step is Move.REQUEST,
            who=by.user,
            reason=reason,
            now=now,
        )
    except Conflict as error:
        raise Taken("A request of this system for this service and municipality waits already.") from error
    after = await contract(tx, agreement_id, environment=environment, now=now)
    if after is None:
        raise Conflict
    await _tell(tx, turn.event, after, by, now, reason=reason)
    await _advise(tx, after, step, now)
    if step in {Move.APPROVE, Move.TRY} and after.replaces is not None:
        await _replace(tx, after, by, now)
    return after


async def remind(tx: Tx, agreement_id: UUID, *, environment: Environment, by: Actor, now: datetime) -> Contract:
    """Let the municipality be told again of a request that waits, once a day; raises `NotThere`, `MoveRefused`."""
    found = await contract(tx, agreement_id, environment=environment, now=now)
    if found is None:
        raise NotThere
    if found.status is not Status.REQUESTED:
        raise MoveRefused(f"It is {found.status}; only a request that waits is reminded of.")
    await _advise(tx, found, Move.REQUEST, now, key=f"request/{agreement_id}/{danish_day(now)}")
    await _tell(tx, audit.Event.AGREEMENT_REMINDED, found, by, now)
    return found


async def _advise(tx: Tx, what: Contract, step: Move, now: datetime, *, key: str | None = None) -> None:
    """Send word to who must act now: a request to the municipality, its decision to the vendor."""
    kind = _ADVICE.get(step)
    if kind is None:
        return
    known: dict[str, object] = {
        "agreement": what.agreement_id,
        "system": what.system,
        "service": what.service.value,
        "vendor": await organisations.name_of(tx, what.vendor_cvr),
        "municipality": municipality_name(what.municipality_cvr),
        "valid_from": what.valid_from,
        "reason": what.reason or "",
    }
    to = what.municipality_cvr if step is Move.REQUEST else what.vendor_cvr
    facts = {name: known[name] for name in mail.FACTS[kind]}
    await mail.advise(tx, kind, await organisations.mailbox(tx, to), facts, now=now, key=key)


def _check(before: Contract, step: Move, reason: str | None, on: date) -> None:
    """Raise when the step cannot be taken from where the agreement stands."""
    turn = TURNS[step]
    if before.status not in turn.source:
        raise MoveRefused(f"It is {before.status}; {step} is for {' or '.join(sorted(turn.source))}.")
    if turn.reason and not reason:
        raise UsageError("WordsMissing", "The reason is empty; the record needs it.")
    if step is Move.APPROVE and before.valid_to is not None and before.valid_to < on:
        raise MoveRefused("Its last day is past.")


async def contract(tx: Tx, agreement_id: UUID, *, environment: Environment, now: datetime) -> Contract | None:
    """Find an agreement of this environment."""
    row = await tx.one(_ONE, agreement_id=agreement_id, environment=environment.value)
    return None if row is None else _contract(row, danish_day(now))


async def contracts(
    tx: Tx,
    *,
    environment: Environment,
    cvr: str | None = None,
    municipality: str | None = None,
    system_id: UUID | None = None,
    status: Status | None = None,
    replaces: UUID | None = None,
    after: UUID | None = None,
    limit: int = 1_000,
    now: datetime,
) -> list[Contract]:
    """
    List agreements, oldest first; `cvr`: only those in which this organisation is vendor or municipality.

    `replaces`: only the changes of this agreement.
    """
    rows = await tx.all(
        _LIST,
        environment=environment.value,
        cvr=cvr,
        municipality=municipality,
        system_id=system_id,
        status=status and status.value,
        replaces=replaces,
        after=after,
        limit=limit,
    )
    return [_contract(row, danish_day(now)) for row in rows]


async def _replace(tx: Tx, new: Contract, by: Actor, now: datetime) -> None:
    """Let the agreement that a changed one replaces end the day before; one that would not have begun is ended."""
    row = await tx.one(_REPLACE, old=new.replaces, first=max(new.valid_from, danish_day(now)), now=now)
    if row is not None:
        await audit.record(
            tx,
            audit.Event.AGREEMENT_REPLACED,
            now=now,
            system=row["system_id"],
            agreement=row["agreement_id"],
            municipality_cvr=row["municipality_cvr"],
            detail=by.plain() | {"by_agreement": new.agreement_id},
        )


async def _tell(
    tx: Tx, event: audit.Event, what: Contract, by: Actor, now: datetime, *, reason: str | None = None
) -> None:
    told = by.plain() | {"service": what.service.value, "version": what.version}
    await audit.record(
        tx,
        event,
        now=now,
        system=what.system_id,
        agreement=what.agreement_id,
        municipality_cvr=what.municipality_cvr,
        reason=reason,
        detail=told if what.replaces is None else told | {"replaces": what.replaces},
    )


def _contract(row: Row, on: date) -> Contract:
    status = Status(row["status"])
    phase = status.value
    if status is Status.APPROVED and on < row["valid_from"]:
        phase = "approved, not begun"
    elif status in {Status.APPROVED, Status.SUSPENDED} and row["valid_to"] is not None and row["valid_to"] < on:
        phase = "expired"
    return Contract(**{**row, "status": status, "service": Service(row["service"]), "phase": phase})
