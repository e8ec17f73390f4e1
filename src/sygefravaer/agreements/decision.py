# SPDX-License-Identifier: MPL-2.0
"""How a caller's right is judged from what the registers say: rule by rule, with a trace. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sygefravaer.contract.operations import Service
from sygefravaer.errors import (
    Party,
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


class Status(StrEnum):
    """How far an agreement has come. That it has begun or expired is its period, never its status."""

    DRAFT = "draft"
    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    SUSPENDED = "suspended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """One agreement of a system about a service for a municipality."""

    agreement_id: UUID
    status: Status
    valid_from: date
    valid_to: date | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """
    Where what goes to a municipality is delivered.

    `finish_days`: for how many days from `valid_from` on the system before it still gets what it may have already;
    None: for as long as it takes.
    """

    route_id: UUID
    service: Service
    municipality_cvr: str
    system_id: UUID
    url: str
    takes_substitute: bool
    valid_from: date
    finish_days: int | None = None

    def lets_finish(self, on: date) -> bool:
        """Say whether on this day the system before this one still gets what it may have already."""
        return self.finish_days is None or on < self.valid_from + timedelta(days=self.finish_days)


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
class Remedy:
    """What would let a rule pass: who must do what."""

    who: Party
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One rule of a decision: what was found, whether it passed, and if not, what nearly matched and what to do."""

    number: int
    rule: str
    found: str
    passed: bool
    near: tuple[str, ...] = ()
    remedy: Remedy | None = None

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


Check = tuple[str, str, bool, tuple[str, ...], type[PlatformFault], Remedy]

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


def decide(facts: Facts) -> Decision:
    """Judge a caller's right; pure, and the same for `authorise` and `explain`."""
    steps: list[Step] = []
    refusal: PlatformFault | None = None
    best = _best(facts)
    for number, (rule, found, passed, near, error, remedy) in enumerate(_checks(facts, best), start=1):
        missed = () if passed else near
        steps.append(
            Step(number=number, rule=rule, found=found, passed=passed, near=missed, remedy=None if passed else remedy)
        )
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
    """Give the checks in the order of telling: rule, what was found, passed, what is near, the fault, what to do."""
    caller = facts.caller
    # 1. The certificate is registered, exactly this one.
    found = f"system {caller.system_id}" if caller else "no such issuer, subject and thumbprint"
    renewed = ("the same subject with another certificate: a renewed certificate must be registered",)
    yield (
        "the certificate is registered",
        found,
        caller is not None,
        renewed * facts.renewed,
        UserSystemNotFound,
        _RENEW if facts.renewed else _REGISTER,
    )
    if caller is None:
        return
    # 2. The registration of the certificate is in force.
    period = _period(caller.certificate_from, caller.certificate_to)
    in_force = caller.certificate_active and _covers(facts.on, caller.certificate_from, caller.certificate_to)
    found = f"{'active' if caller.certificate_active else 'withdrawn'}, {period}"
    remedy = _REGISTER_PERIOD if caller.certificate_active else _REPLACE
    yield "the certificate's registration is in force", found, in_force, (), UserSystemInactive, remedy
    # 3. The system is active.
    found = "open" if caller.active else "closed"
    yield "the system is active", found, caller.active, (), UserSystemInactive, _OPEN
    if facts.municipality_cvr is None:
        return
    # 4. There is an agreement for this service and this municipality.
    rule = f"there is an agreement about {facts.service} for {facts.municipality_cvr}"
    found = f"{len(facts.agreements)} found"
    yield rule, found, best is not None, facts.near, ServiceAgreementNotFound, _REQUEST
    if best is None:
        return
    # 5.-9. The best of them is approved, not terminated, begun, not expired, not suspended.
    verdict = _verdict(best, facts.on)
    others = tuple(_outline(one) for one in facts.agreements if one is not best)
    for rule, error in _AGREEMENT_RULES:
        yield rule, _outline(best), verdict is not error, others, error, _AGREEMENT_REMEDIES[error](best)


_REGISTER: Final = Remedy(who=Party.CALLER, what="The vendor registers this certificate with the system that uses it.")
_RENEW: Final = Remedy(
    who=Party.CALLER,
    what="The vendor registers the renewed certificate with the system, and until then calls with the one before.",
)
_REPLACE: Final = Remedy(
    who=Party.CALLER,
    what="The vendor calls with a certificate that has not been withdrawn, or registers this one again.",
)
_REGISTER_PERIOD: Final = Remedy(
    who=Party.CALLER, what="The vendor registers the certificate for a period that covers the day of the call."
)
_OPEN: Final = Remedy(who=Party.OPERATOR, what="The operator opens the system again, or says why it was closed.")
_REQUEST: Final = Remedy(
    who=Party.CALLER, what="The vendor requests an agreement for this service, and the municipality approves it."
)
_NOT_APPROVED: Final[Mapping[Status, Remedy]] = {
    Status.DRAFT: Remedy(who=Party.CALLER, what="The vendor sends the draft to the municipality as a request."),
    Status.REQUESTED: Remedy(who=Party.MUNICIPALITY, what="The municipality approves the request that waits for it."),
}
_REQUEST_ANEW: Final = Remedy(
    who=Party.CALLER, what="The vendor requests a new agreement, and the municipality approves it."
)
_AGREEMENT_REMEDIES: Final[Mapping[type[PlatformFault], Callable[[Agreement], Remedy]]] = {
    ServiceAgreementNotApproved: lambda one: _NOT_APPROVED.get(one.status, _REQUEST_ANEW),
    ServiceAgreementTerminated: lambda _: _REQUEST_ANEW,
    ServiceAgreementNotYetValid: lambda one: Remedy(
        who=Party.CALLER,
        what=f"The vendor calls from {one.valid_from} on; the municipality can agree to an earlier day.",
    ),
    ServiceAgreementExpired: lambda _: _REQUEST_ANEW,
    ServiceAgreementSuspended: lambda _: Remedy(who=Party.OPERATOR, what="The operator resumes the agreement."),
}


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
