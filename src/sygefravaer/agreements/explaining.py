# SPDX-License-Identifier: MPL-2.0
"""
What a person asks of the registers: why a call would pass or not, and why its message would go where it goes.

Access is `decide`'s own trace. A route is chosen by a statement, so its explanation judges every route that could be
meant by the same rules, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sygefravaer.agreements.decision import Decision, Remedy, Step
from sygefravaer.agreements.reading import Presented, danish_day, explain
from sygefravaer.agreements.registers import ALL
from sygefravaer.contract.operations import Environment, Operation, Service
from sygefravaer.errors import Party, RoutingNotFound
from sygefravaer.identity import Identity
from sygefravaer.store import Row, Tx

_REGISTERED: Final = """
SELECT issuer, serial_key, thumbprint, system_id FROM certificate
WHERE environment = %(environment)s AND thumbprint = %(thumbprint)s"""

_CANDIDATES: Final = """
SELECT t.route_id, t.municipality_cvr, t.system_id, s.name, s.active, s.environment, t.url, t.takes_substitute,
       t.valid_from, t.valid_to
FROM route t JOIN system s ON s.system_id = t.system_id
WHERE t.service = %(service)s AND t.municipality_cvr IN (%(municipality)s, '*')
ORDER BY t.municipality_cvr = '*', t.valid_from DESC, t.created_at DESC, t.route_id"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A certificate as the register has it: enough to judge a call with it."""

    issuer: str
    serial_key: str
    thumbprint: str
    system_id: UUID | None = None


class Verdict(StrEnum):
    """What became of one route in the choice."""

    CHOSEN = "chosen"
    OVERRIDDEN = "overridden"  # it counts on that day, and another one comes first
    NOT_BEGUN = "not begun"
    ENDED = "ended"
    ELSEWHERE = "of another environment"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A route that could be meant, and what became of it."""

    route_id: UUID
    municipality_cvr: str
    system_id: UUID
    name: str
    system_active: bool
    url: str
    takes_substitute: bool
    valid_from: date
    valid_to: date | None
    verdict: Verdict
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteDecision:
    """Which route counts on a day, if any; every one that could be meant, in the order in which they are tried."""

    on: date
    candidates: tuple[Candidate, ...]
    remedy: Remedy | None

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        chosen = self.chosen
        return {
            "on": self.on.isoformat(),
            "route": None if chosen is None else str(chosen.route_id),
            "candidates": [
                {
                    "route": str(one.route_id),
                    "municipality": one.municipality_cvr,
                    "system": str(one.system_id),
                    "name": one.name,
                    "system_active": one.system_active,
                    "url": one.url,
                    "takes_substitute": one.takes_substitute,
                    "valid_from": one.valid_from.isoformat(),
                    "valid_to": one.valid_to and one.valid_to.isoformat(),
                    "verdict": one.verdict.value,
                    "why": one.why,
                }
                for one in self.candidates
            ],
            **plain_remedy(self.remedy),
        }

    @property
    def chosen(self) -> Candidate | None:
        """The route that counts."""
        return next((one for one in self.candidates if one.verdict is Verdict.CHOSEN), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Whether a call would pass: the certificate by itself, the caller's right, and a route for what he sends."""

    operation: Operation
    municipality_cvr: str
    at: datetime
    before: tuple[Step, ...]
    decision: Decision
    way: RouteDecision

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every rule up to the one that decided."""
        told: list[Step] = []
        for step in (*self.before, *self.decision.steps):
            told.append(step)
            if not step.passed:
                return tuple(told)
        chosen = self.way.chosen
        rule = f"there is a route of {self.operation.service} for {self.municipality_cvr}"
        found = "none" if chosen is None else f"to {chosen.name}, {chosen.why}"
        near = tuple(f"{one.name}: {one.why}" for one in self.way.candidates) if chosen is None else ()
        number = len(self.decision.steps) + 1
        passed = chosen is not None
        told.append(Step(number=number, rule=rule, found=found, passed=passed, near=near, remedy=self.way.remedy))
        return tuple(told)

    @property
    def allowed(self) -> bool:
        """Whether the call would pass, as far as the registers decide it."""
        return self.steps[-1].passed

    @property
    def code(self) -> str:
        """What the caller would be told: the code of the fault, HTTP where he is not let in at all, or OK."""
        if any(not step.passed for step in self.before):
            return "HTTP"
        if self.decision.error is not None:
            return self.decision.error.code
        if self.way.chosen is None:
            return RoutingNotFound.code if self.operation.lookup else "G005"
        return "OK"

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        decision = self.decision
        return {
            "allowed": self.allowed,
            "code": self.code,
            "operation": self.operation.name,
            "service": self.operation.service.value,
            "municipality": self.municipality_cvr,
            "at": self.at.isoformat(),
            "system": None if decision.system_id is None else str(decision.system_id),
            "agreement": None if decision.agreement_id is None else str(decision.agreement_id),
            "repeats_get_their_receipt": decision.ended and not self.operation.lookup,
            "steps": [plain_step(step) for step in self.steps],
            "decided": self.steps[-1].number,
        }


def plain_step(step: Step) -> dict[str, Any]:
    """Give a rule as JSON has it."""
    return {
        "number": step.number,
        "rule": step.rule,
        "found": step.found,
        "passed": step.passed,
        "near": list(step.near),
        **plain_remedy(step.remedy),
    }


def plain_remedy(remedy: Remedy | None) -> Mapping[str, str | None]:
    """Give who must do what as JSON has it."""
    return {"who": None, "do": None} if remedy is None else {"who": remedy.who.value, "do": remedy.what}


def of_certificate(identity: Identity, now: datetime) -> Step:
    """Judge a certificate by itself, as TLS does, by machine time."""
    period = f"{identity.not_before:%Y-%m-%d} to {identity.not_after:%Y-%m-%d}"
    passed = identity.not_before <= now <= identity.not_after
    remedy = Remedy(who=Party.CALLER, what="The vendor has the certificate renewed, and registers the new one.")
    rule = "TLS lets the certificate in: it is valid"
    return Step(number=0, rule=rule, found=period, passed=passed, remedy=None if passed else remedy)


async def explain_access(
    tx: Tx,
    presented: Presented,
    *,
    environment: Environment,
    operation: Operation,
    municipality_cvr: str,
    now: datetime,
    before: tuple[Step, ...] = (),
) -> Access:
    """
    Say whether a call with this certificate would pass at a time, by what the registers say now.

    `before` are rules that were judged elsewhere and come first; a certificate that is there whole is judged by itself.
    """
    about: dict[str, Any] = {"environment": environment, "service": operation.service, "now": now}
    decision = await explain(tx, presented, municipality_cvr=municipality_cvr, **about)
    way = await explain_route(tx, municipality_cvr=municipality_cvr, **about)
    own = (of_certificate(presented, now.astimezone(UTC)),) if isinstance(presented, Identity) else ()
    return Access(
        operation=operation,
        municipality_cvr=municipality_cvr,
        at=now,
        before=(*own, *before),
        decision=decision,
        way=way,
    )


async def registered(tx: Tx, *, environment: Environment, thumbprint: str) -> Registered | None:
    """Find a registered certificate by its thumbprint."""
    row = await tx.one(_REGISTERED, environment=environment.value, thumbprint=thumbprint)
    return None if row is None else Registered(**row)


async def explain_route(
    tx: Tx, *, environment: Environment, service: Service, municipality_cvr: str, now: datetime
) -> RouteDecision:
    """Say where messages of this service for this municipality go on a day, and why not elsewhere."""
    on = danish_day(now)
    candidates: list[Candidate] = []
    taken = False
    for row in await tx.all(_CANDIDATES, service=service.value, municipality=municipality_cvr):
        verdict, why = _judge(row, environment, on, taken=taken)
        taken = taken or verdict is Verdict.CHOSEN
        candidates.append(
            Candidate(
                route_id=row["route_id"],
                municipality_cvr=row["municipality_cvr"],
                system_id=row["system_id"],
                name=row["name"],
                system_active=row["active"],
                url=row["url"],
                takes_substitute=row["takes_substitute"],
                valid_from=row["valid_from"],
                valid_to=row["valid_to"],
                verdict=verdict,
                why=why,
            )
        )
    return RouteDecision(on=on, candidates=tuple(candidates), remedy=None if taken else _remedy(candidates))


def _judge(row: Row, environment: Environment, on: date, *, taken: bool) -> tuple[Verdict, str]:
    if row["environment"] != environment.value:
        return Verdict.ELSEWHERE, f"its system is registered in {row['environment']}"
    if on < row["valid_from"]:
        return Verdict.NOT_BEGUN, f"it begins on {row['valid_from']}"
    if row["valid_to"] is not None and on > row["valid_to"]:
        return Verdict.ENDED, f"its last day was {row['valid_to']}"
    if taken:
        return Verdict.OVERRIDDEN, "one that is the municipality's own, or began later, comes first"
    own = row["municipality_cvr"] != ALL
    return Verdict.CHOSEN, "the municipality's own, begun last" if own else "that of all municipalities, begun last"


def _remedy(candidates: list[Candidate]) -> Remedy:
    ahead = min((one for one in candidates if one.verdict is Verdict.NOT_BEGUN), key=_begins, default=None)
    if ahead is not None:
        what = f"The operator lets the route to {ahead.name} begin earlier than {ahead.valid_from}."
    elif any(one.verdict is Verdict.ENDED for one in candidates):
        what = "The operator registers a new route for the municipality: the last one has ended."
    else:
        what = "The operator registers the municipality's system as the route of this service."
    return Remedy(who=Party.OPERATOR, what=what)


def _begins(candidate: Candidate) -> date:
    return candidate.valid_from
