# SPDX-License-Identifier: MPL-2.0
"""
Who may call, for which municipality, and where its messages go.

A certificate belongs to one system, a municipality has an agreement with a system about a service, and a route says
which system receives what goes to a municipality. `decide` is the one place where a caller's right is judged:
`authorise` raises on it, `explain` prints it. Nothing here is cached, so a change counts from the next call on.

Periods are whole days in Danish time; the last day counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sygefravaer.contract.operations import Environment, Service
from sygefravaer.errors import (
    PlatformFault,
    ServiceAgreementExpired,
    ServiceAgreementNotApproved,
    ServiceAgreementNotFound,
    ServiceAgreementNotYetValid,
    ServiceAgreementSuspended,
    ServiceAgreementTerminated,
    UserSystemInactive,
    UserSystemNotFound,
)
from sygefravaer.identity import Identity
from sygefravaer.store import Row, Tx

DENMARK: Final = ZoneInfo("Europe/Copenhagen")
ALL: Final = "*"  # a route for every municipality: how KSD is reached


class Role(StrEnum):
    """What a system is."""

    JOBCENTER = "jobcenter"
    KSD = "ksd"
    OTHER = "other"


class Status(StrEnum):
    """How far an agreement has come. That it has begun or expired is its period, never its status."""

    DRAFT = "draft"
    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    SUSPENDED = "suspended"


MIGRATIONS: Final = (
    """
    CREATE TABLE system (
        system_id   uuid PRIMARY KEY,
        name        text NOT NULL,
        vendor_cvr  text NOT NULL,
        role        text NOT NULL CHECK (role IN ('jobcenter', 'ksd', 'other')),
        environment text NOT NULL CHECK (environment IN ('test', 'production')),
        active      boolean NOT NULL DEFAULT true,
        created_at  timestamptz NOT NULL
    );
    CREATE TABLE certificate (
        environment text NOT NULL,
        thumbprint  text NOT NULL,
        issuer      text NOT NULL,
        serial_key  text NOT NULL,
        subject     text NOT NULL,
        system_id   uuid NOT NULL REFERENCES system,
        active      boolean NOT NULL DEFAULT true,
        valid_from  date NOT NULL,
        valid_to    date,
        created_at  timestamptz NOT NULL,
        PRIMARY KEY (environment, thumbprint)
    );
    CREATE INDEX certificate_subject ON certificate (environment, issuer, serial_key);
    CREATE TABLE agreement (
        agreement_id     uuid PRIMARY KEY,
        system_id        uuid NOT NULL REFERENCES system,
        service          text NOT NULL,
        municipality_cvr text NOT NULL,
        status           text NOT NULL CHECK (status IN
            ('draft', 'requested', 'approved', 'rejected', 'cancelled', 'terminated', 'suspended')),
        valid_from       date NOT NULL,
        valid_to         date,
        created_at       timestamptz NOT NULL,
        changed_at       timestamptz NOT NULL
    );
    CREATE INDEX agreement_of ON agreement (system_id, service, municipality_cvr);
    CREATE TABLE route (
        route_id         uuid PRIMARY KEY,
        service          text NOT NULL,
        municipality_cvr text NOT NULL,
        system_id        uuid NOT NULL REFERENCES system,
        url              text NOT NULL,
        takes_substitute boolean NOT NULL DEFAULT false,
        valid_from       date NOT NULL,
        valid_to         date,
        created_at       timestamptz NOT NULL
    );
    CREATE INDEX route_to ON route (service, municipality_cvr);
    """,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """One agreement of a system about a service for a municipality."""

    agreement_id: UUID
    status: Status
    valid_from: date
    valid_to: date | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Where what goes to a municipality is delivered."""

    route_id: UUID
    service: Service
    municipality_cvr: str
    system_id: UUID
    url: str
    takes_substitute: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The registered system behind a certificate."""

    system_id: UUID
    name: str
    active: bool
    certificate_active: bool
    certificate_from: date
    certificate_to: date | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """
    What the registers say about one call, read in one statement.

    `on` is the Danish day of the call. `municipality_cvr` is None when the call did not say; then only the system is
    judged. `renewed`: the certificate's subject is registered, but with another certificate. `near`: what the system
    does have where it has no agreement of the right kind.
    """

    on: date
    service: Service
    municipality_cvr: str | None
    caller: Caller | None
    renewed: bool
    agreements: tuple[Agreement, ...]
    near: tuple[str, ...]
    route: Route | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One rule of a decision: what was found, whether it passed, and what nearly matched."""

    number: int
    rule: str
    found: str
    passed: bool
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write the step on one line."""
        near = f" Near: {', '.join(self.near)}." if self.near else ""
        return f"{self.number}. {self.rule}: {'yes' if self.passed else 'no'} ({self.found}).{near}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A caller's right: his system, the agreement, why it has ended if it has, and the route for what he sends."""

    system_id: UUID
    agreement_id: UUID | None
    ended: PlatformFault | None
    route: Route | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What was decided about a call, and by which steps; the last step is the one that decided."""

    error: PlatformFault | None
    steps: tuple[Step, ...]
    system_id: UUID | None = None
    agreement_id: UUID | None = None
    route: Route | None = None

    @property
    def allowed(self) -> bool:
        """Whether every rule passed."""
        return self.error is None

    @property
    def ended(self) -> bool:
        """Whether there was an agreement that is no more: a repeat of an accepted message still gets its receipt."""
        return isinstance(self.error, ENDED)

    def grant(self) -> Grant:
        """
        Give the caller's right, or raise the fault of the rule that failed, with that rule as its note.

        An agreement that has ended gives a grant that says so: whoever holds it lets a repeat through and raises
        `ended` for anything else.
        """
        if self.system_id is None or (self.error is not None and not self.ended):
            raise self.error or UserSystemNotFound()
        return Grant(system_id=self.system_id, agreement_id=self.agreement_id, ended=self.error, route=self.route)


Check = tuple[str, str, bool, tuple[str, ...], type[PlatformFault]]

ENDED: Final = (ServiceAgreementExpired, ServiceAgreementTerminated, ServiceAgreementSuspended)

# Which of several agreements decides: one in force, else the one whose end still lets a repeat have its receipt.
_RANK: Final[Mapping[type[PlatformFault] | None, int]] = {
    None: 0,
    ServiceAgreementSuspended: 1,
    ServiceAgreementTerminated: 2,
    ServiceAgreementExpired: 3,
    ServiceAgreementNotYetValid: 4,
    ServiceAgreementNotApproved: 5,
}
_AGREEMENT_RULES: Final[tuple[tuple[str, type[PlatformFault]], ...]] = (
    ("the municipality has approved the agreement", ServiceAgreementNotApproved),
    ("the agreement has not been terminated", ServiceAgreementTerminated),
    ("the agreement has begun", ServiceAgreementNotYetValid),
    ("the agreement has not expired", ServiceAgreementExpired),
    ("the agreement is not suspended", ServiceAgreementSuspended),
)


def danish_day(instant: datetime) -> date:
    """Say which day it is in Denmark."""
    return instant.astimezone(DENMARK).date()


def decide(facts: Facts) -> Decision:
    """Judge a caller's right; pure, and the same for `authorise` and `explain`."""
    steps: list[Step] = []
    refusal: PlatformFault | None = None
    best = _best(facts)
    for number, (rule, found, passed, near, error) in enumerate(_checks(facts, best), start=1):
        steps.append(Step(number=number, rule=rule, found=found, passed=passed, near=() if passed else near))
        if not passed:
            refusal = error()
            refusal.add_note(str(steps[-1]))
            break
    return Decision(
        error=refusal,
        steps=tuple(steps),
        system_id=facts.caller.system_id if facts.caller else None,
        agreement_id=best.agreement_id if best else None,
        route=facts.route,
    )


def _checks(facts: Facts, best: Agreement | None) -> Iterator[Check]:
    """Give the checks in the order in which they are told: rule, what was found, passed, what is near, the fault."""
    caller = facts.caller
    # 1. The certificate is registered, exactly this one.
    found = f"system {caller.system_id}" if caller else "no such issuer, subject and thumbprint"
    renewed = ("the same subject with another certificate: a renewed certificate must be registered",)
    yield "the certificate is registered", found, caller is not None, renewed * facts.renewed, UserSystemNotFound
    if caller is None:
        return
    # 2. The registration of the certificate is in force.
    period = _period(caller.certificate_from, caller.certificate_to)
    in_force = caller.certificate_active and _covers(facts.on, caller.certificate_from, caller.certificate_to)
    found = f"{'active' if caller.certificate_active else 'withdrawn'}, {period}"
    yield "the certificate's registration is in force", found, in_force, (), UserSystemInactive
    # 3. The system is active.
    yield "the system is active", "open" if caller.active else "closed", caller.active, (), UserSystemInactive
    if facts.municipality_cvr is None:
        return
    # 4. There is an agreement for this service and this municipality.
    rule = f"there is an agreement about {facts.service} for {facts.municipality_cvr}"
    yield rule, f"{len(facts.agreements)} found", best is not None, facts.near, ServiceAgreementNotFound
    if best is None:
        return
    # 5.-9. The best of them is approved, not terminated, begun, not expired, not suspended.
    verdict = _verdict(best, facts.on)
    others = tuple(_outline(one) for one in facts.agreements if one is not best)
    for rule, error in _AGREEMENT_RULES:
        yield rule, _outline(best), verdict is not error, others, error


def _best(facts: Facts) -> Agreement | None:
    return min(facts.agreements, key=lambda one: (_RANK[_verdict(one, facts.on)], str(one.agreement_id)), default=None)


def _verdict(agreement: Agreement, on: date) -> type[PlatformFault] | None:
    if agreement.status is Status.TERMINATED:
        return ServiceAgreementTerminated
    if agreement.status not in {Status.APPROVED, Status.SUSPENDED}:
        return ServiceAgreementNotApproved
    if on < agreement.valid_from:
        return ServiceAgreementNotYetValid
    if not _covers(on, agreement.valid_from, agreement.valid_to):
        return ServiceAgreementExpired
    return ServiceAgreementSuspended if agreement.status is Status.SUSPENDED else None


def _covers(on: date, first: date, last: date | None) -> bool:
    return first <= on and (last is None or on <= last)


def _period(first: date, last: date | None) -> str:
    return f"{first} to {last}" if last else f"from {first}"


def _outline(agreement: Agreement) -> str:
    period = _period(agreement.valid_from, agreement.valid_to)
    return f"agreement {agreement.agreement_id}: {agreement.status}, {period}"


# --- reading the registers ---

_ROUTE: Final = """
SELECT t.route_id, t.municipality_cvr AS route_cvr, t.system_id AS route_system, t.url, t.takes_substitute
FROM route t JOIN system ts ON ts.system_id = t.system_id AND ts.environment = %(environment)s
WHERE t.service = %(service)s AND t.municipality_cvr IN (%(municipality)s::text, '*')
  AND t.valid_from <= %(on)s AND (t.valid_to IS NULL OR t.valid_to >= %(on)s)
ORDER BY t.municipality_cvr = '*', t.valid_from DESC, t.created_at DESC, t.route_id LIMIT 1
"""

_FACTS: Final = f"""
SELECT c.system_id, s.name, s.active AS system_active, c.active AS certificate_active,
       c.valid_from AS certificate_from, c.valid_to AS certificate_to,
       a.agreement_id, a.status, a.valid_from, a.valid_to,
       r.route_id, r.route_cvr, r.route_system, r.url, r.takes_substitute,
       CASE WHEN c.system_id IS NULL THEN EXISTS (
           SELECT 1 FROM certificate o
           WHERE o.environment = %(environment)s AND o.issuer = %(issuer)s AND o.serial_key = %(serial_key)s
       ) ELSE false END AS renewed,
       CASE WHEN c.system_id IS NOT NULL AND a.agreement_id IS NULL THEN ARRAY(
           SELECT n.service || ' for ' || n.municipality_cvr FROM agreement n
           WHERE n.system_id = c.system_id
             AND (n.service = %(service)s OR n.municipality_cvr = %(municipality)s::text)
           ORDER BY n.municipality_cvr = %(municipality)s::text DESC, n.municipality_cvr, n.service LIMIT 5
       ) END AS near
FROM (VALUES (1)) AS one (n)
LEFT JOIN certificate c ON c.environment = %(environment)s AND c.thumbprint = %(thumbprint)s
     AND c.issuer = %(issuer)s AND c.serial_key = %(serial_key)s
LEFT JOIN system s ON s.system_id = c.system_id
LEFT JOIN agreement a ON a.system_id = c.system_id AND a.service = %(service)s
     AND a.municipality_cvr = %(municipality)s::text
LEFT JOIN LATERAL ({_ROUTE}) r ON true
"""


async def facts(
    tx: Tx,
    identity: Identity,
    *,
    environment: Environment,
    service: Service,
    municipality_cvr: str | None,
    now: datetime,
) -> Facts:
    """Read all that a decision about this call needs, route included, in one statement."""
    on = danish_day(now)
    rows = await tx.all(
        _FACTS,
        environment=environment.value,
        issuer=identity.issuer,
        serial_key=identity.serial_key,
        thumbprint=identity.thumbprint,
        service=service.value,
        municipality=municipality_cvr,
        on=on,
    )
    first = rows[0]
    caller = None
    if first["system_id"] is not None:
        caller = Caller(
            system_id=first["system_id"],
            name=first["name"],
            active=first["system_active"],
            certificate_active=first["certificate_active"],
            certificate_from=first["certificate_from"],
            certificate_to=first["certificate_to"],
        )
    found = tuple(
        Agreement(
            agreement_id=row["agreement_id"],
            status=Status(row["status"]),
            valid_from=row["valid_from"],
            valid_to=row["valid_to"],
        )
        for row in rows
        if row["agreement_id"] is not None
    )
    return Facts(
        on=on,
        service=service,
        municipality_cvr=municipality_cvr,
        caller=caller,
        renewed=first["renewed"],
        agreements=found,
        near=tuple(first["near"] or ()),
        route=_route(first, service),
    )


async def explain(
    tx: Tx,
    identity: Identity,
    *,
    environment: Environment,
    service: Service,
    municipality_cvr: str | None,
    now: datetime,
) -> Decision:
    """Decide about a call from what the registers say now."""
    return decide(
        await facts(tx, identity, environment=environment, service=service, municipality_cvr=municipality_cvr, now=now)
    )


async def authorise(
    tx: Tx,
    identity: Identity,
    *,
    environment: Environment,
    service: Service,
    municipality_cvr: str | None,
    now: datetime,
) -> Grant:
    """Give the caller's right, or raise the fault of the rule that failed: what `explain` says, enforced."""
    decision = await explain(
        tx, identity, environment=environment, service=service, municipality_cvr=municipality_cvr, now=now
    )
    return decision.grant()


async def route(
    tx: Tx, *, environment: Environment, service: Service, municipality_cvr: str, now: datetime
) -> Route | None:
    """Find where messages of this service for this municipality go today."""
    row = await tx.one(
        _ROUTE, environment=environment.value, service=service.value, municipality=municipality_cvr, on=danish_day(now)
    )
    return None if row is None else _route(row, service)


def _route(row: Row, service: Service) -> Route | None:
    if row["route_id"] is None:
        return None
    return Route(
        route_id=row["route_id"],
        service=service,
        municipality_cvr=row["route_cvr"],
        system_id=row["route_system"],
        url=row["url"],
        takes_substitute=row["takes_substitute"],
    )


# --- writing them ---


async def register_system(
    tx: Tx, *, system_id: UUID, name: str, vendor_cvr: str, role: Role, environment: Environment, now: datetime
) -> None:
    """Register a system, or correct the name of one that is there."""
    await tx.run(
        "INSERT INTO system (system_id, name, vendor_cvr, role, environment, created_at)"
        " VALUES (%(system_id)s, %(name)s, %(vendor_cvr)s, %(role)s, %(environment)s, %(now)s)"
        " ON CONFLICT (system_id) DO UPDATE SET name = EXCLUDED.name, vendor_cvr = EXCLUDED.vendor_cvr",
        system_id=system_id,
        name=name,
        vendor_cvr=vendor_cvr,
        role=role.value,
        environment=environment.value,
        now=now,
    )


async def register_certificate(
    tx: Tx,
    identity: Identity,
    *,
    system_id: UUID,
    environment: Environment,
    valid_from: date,
    valid_to: date | None = None,
    now: datetime,
) -> None:
    """Register one certificate as its system's; in one environment a certificate belongs to one system."""
    await tx.run(
        "INSERT INTO certificate (environment, thumbprint, issuer, serial_key, subject, system_id, valid_from,"
        " valid_to, created_at) VALUES (%(environment)s, %(thumbprint)s, %(issuer)s, %(serial_key)s, %(subject)s,"
        " %(system_id)s, %(valid_from)s, %(valid_to)s, %(now)s)"
        " ON CONFLICT (environment, thumbprint) DO UPDATE SET system_id = EXCLUDED.system_id, active = true,"
        " valid_from = EXCLUDED.valid_from, valid_to = EXCLUDED.valid_to",
        environment=environment.value,
        thumbprint=identity.thumbprint,
        issuer=identity.issuer,
        serial_key=identity.serial_key,
        subject=identity.subject,
        system_id=system_id,
        valid_from=valid_from,
        valid_to=valid_to,
        now=now,
    )


async def grant_agreement(
    tx: Tx,
    *,
    agreement_id: UUID,
    system_id: UUID,
    service: Service,
    municipality_cvr: str,
    valid_from: date,
    valid_to: date | None = None,
    status: Status = Status.APPROVED,
    now: datetime,
) -> None:
    """Register an agreement, or change status and period of the one with this id."""
    await tx.run(
        "INSERT INTO agreement (agreement_id, system_id, service, municipality_cvr, status, valid_from, valid_to,"
        " created_at, changed_at) VALUES (%(agreement_id)s, %(system_id)s, %(service)s, %(municipality_cvr)s,"
        " %(status)s, %(valid_from)s, %(valid_to)s, %(now)s, %(now)s)"
        " ON CONFLICT (agreement_id) DO UPDATE SET status = EXCLUDED.status, valid_from = EXCLUDED.valid_from,"
        " valid_to = EXCLUDED.valid_to, changed_at = EXCLUDED.changed_at",
        agreement_id=agreement_id,
        system_id=system_id,
        service=service.value,
        municipality_cvr=municipality_cvr,
        status=status.value,
        valid_from=valid_from,
        valid_to=valid_to,
        now=now,
    )


async def set_route(
    tx: Tx,
    *,
    route_id: UUID,
    service: Service,
    municipality_cvr: str,
    system_id: UUID,
    url: str,
    takes_substitute: bool = False,
    valid_from: date,
    valid_to: date | None = None,
    now: datetime,
) -> None:
    """
    Let what goes to a municipality (or to all, `ALL`) be delivered to a system from a day on.

    An open route that it replaces ends the day before. Of several routes for a day the one that began last counts.
    """
    await tx.run(
        "UPDATE route SET valid_to = %(valid_from)s::date - 1 WHERE service = %(service)s AND valid_to IS NULL"
        " AND municipality_cvr = %(municipality_cvr)s AND route_id <> %(route_id)s",
        service=service.value,
        municipality_cvr=municipality_cvr,
        route_id=route_id,
        valid_from=valid_from,
    )
    await tx.run(
        "INSERT INTO route (route_id, service, municipality_cvr, system_id, url, takes_substitute, valid_from,"
        " valid_to, created_at) VALUES (%(route_id)s, %(service)s, %(municipality_cvr)s, %(system_id)s, %(url)s,"
        " %(takes_substitute)s, %(valid_from)s, %(valid_to)s, %(now)s)"
        " ON CONFLICT (route_id) DO UPDATE SET system_id = EXCLUDED.system_id, url = EXCLUDED.url,"
        " takes_substitute = EXCLUDED.takes_substitute, valid_from = EXCLUDED.valid_from,"
        " valid_to = EXCLUDED.valid_to",
        route_id=route_id,
        service=service.value,
        municipality_cvr=municipality_cvr,
        system_id=system_id,
        url=url,
        takes_substitute=takes_substitute,
        valid_from=valid_from,
        valid_to=valid_to,
        now=now,
    )


async def end_route(tx: Tx, *, route_id: UUID, last_day: date) -> None:
    """Let a route end; its last day counts."""
    await tx.run(
        "UPDATE route SET valid_to = %(last_day)s WHERE route_id = %(route_id)s", route_id=route_id, last_day=last_day
    )


async def set_active(tx: Tx, *, system_id: UUID, active: bool) -> None:
    """Close or open a system."""
    await tx.run(
        "UPDATE system SET active = %(active)s WHERE system_id = %(system_id)s", system_id=system_id, active=active
    )


async def withdraw_certificate(tx: Tx, identity: Identity, *, environment: Environment) -> None:
    """Let a registered certificate open nothing from now on."""
    await tx.run(
        "UPDATE certificate SET active = false WHERE environment = %(environment)s AND thumbprint = %(thumbprint)s",
        environment=environment.value,
        thumbprint=identity.thumbprint,
    )
