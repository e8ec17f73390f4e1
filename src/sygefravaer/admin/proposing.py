# SPDX-License-Identifier: MPL-2.0
"""Proposals of operators: routes, steps with agreements, replays; made by one person, confirmed by another."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Depends, Query, Response
from pydantic import Field, StringConstraints

from sygefravaer.admin import four_eyes, rest
from sygefravaer.admin.access import Role, User, needs
from sygefravaer.admin.four_eyes import Kind, Proposal, State, Wish
from sygefravaer.admin.office import In, Office
from sygefravaer.agreements import workflow
from sygefravaer.contract.operations import Service
from sygefravaer.delivery import Change, Parked, Routes, Selection
from sygefravaer.delivery.parked import check_words
from sygefravaer.errors import FieldsWrong, NotThere

router: Final = rest.router("proposals")

Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Watcher = Annotated[User, Depends(needs(Role.OPERATOR, Role.AUDITOR))]
Url = Annotated[str, StringConstraints(max_length=500, pattern=r"^https://[A-Za-z0-9.\-\[\]:]+(/[\x21-\x7e]*)?$")]


class RouteAsked(rest.Body):
    """From a day on, what goes to a municipality (`*`: to all) is delivered to a system."""

    service: Service
    municipality: Annotated[str, StringConstraints(pattern=r"^([0-9]{8}|\*)$")]
    system: UUID
    valid_from: date
    url: Url | None = None
    takes_substitute: bool | None = None
    finish_days: Annotated[int, Field(ge=0, le=365)] | None = None


class StepAsked(rest.Body):
    """A step with an agreement, which stands at this version."""

    agreement: UUID
    step: Literal["suspend", "resume", "terminate"]
    version: Annotated[int, Field(ge=1, le=1_000_000)]


class ReplayAsked(rest.Body):
    """Parked messages that are to go again: all that fit what is given."""

    ids: Annotated[list[Annotated[int, Field(ge=1, le=2**62)]], Field(max_length=1_000, default_factory=list)]
    cause: rest.Text | None = None
    recipient: UUID | None = None
    municipality: rest.CvrText | None = None
    duplicates: bool = False


class Asked(rest.Body):
    """One of the three, and why; no citizen's number stands in the reason."""

    route: RouteAsked | None = None
    agreement: StepAsked | None = None
    replay: ReplayAsked | None = None
    reason: rest.Words


class Alone(rest.Body):
    """Why it cannot wait for a second person."""

    reason: rest.Words


@router.post("/routes/plan")
async def plan_route(asked: RouteAsked, _user: Operator, office: In) -> dict[str, Any]:
    """Say what a change of a route would move, and what would stay; nothing is changed."""
    _, shown = await _route_plan(office, asked)
    return shown


@router.post("/replays/plan")
async def plan_replay(asked: ReplayAsked, _user: Operator, office: In) -> dict[str, Any]:
    """Say what a replay would do, lane by lane; nothing is changed."""
    _, shown = await _replay_plan(office, asked)
    return shown


@router.get("/proposals")
async def list_proposals(
    _user: Watcher,
    paging: rest.Paged,
    office: In,
    status: State | None = None,
    glass: Annotated[bool | None, Query(description="Only those that somebody did alone.")] = None,
) -> rest.Page[Proposal]:
    """List the proposals."""
    async with office.store.read() as tx:
        rows = await four_eyes.proposals(tx, status=status, glass=glass, after=paging.after, limit=paging.wanted)
    return paging.page(rows, lambda one: one.proposal_id)


@router.post("/proposals", status_code=201)
async def propose(asked: Asked, user: Operator, response: Response, office: In) -> Proposal:
    """Propose a route, a step with an agreement, or a replay; the plan is made, and kept, as things stand now."""
    wish = await _wish(office, asked)
    async with office.store.tx() as tx:
        made = await four_eyes.propose(tx, wish, user=user, now=office.clock.now())
    rest.tag(response, made.version)
    return made


@router.get("/proposals/{proposal}")
async def show_proposal(proposal: UUID, _user: Watcher, response: Response, office: In) -> Proposal:
    """Show one."""
    async with office.store.read() as tx:
        found = await four_eyes.proposal(tx, proposal)
    if found is None:
        raise NotThere
    rest.tag(response, found.version)
    return found


@router.put("/proposals/{proposal}")
async def change_proposal(
    *, proposal: UUID, asked: Asked, user: Operator, version: rest.IfMatch, response: Response, office: In
) -> Proposal:
    """Propose something else in its place, or the same planned anew; what another had approved is void by that."""
    wish = await _wish(office, asked)
    async with office.store.tx() as tx:
        changed = await four_eyes.change(tx, proposal, wish, version=version, user=user, now=office.clock.now())
    rest.tag(response, changed.version)
    return changed


@router.post("/proposals/{proposal}/confirm")
async def confirm_proposal(
    proposal: UUID, user: Operator, version: rest.IfMatch, response: Response, office: In
) -> Proposal:
    """Confirm what another person has proposed, exactly as it stands at this version; it is done at once."""
    done = await four_eyes.carry_out(office, proposal, version=version, user=user)
    rest.tag(response, done.version)
    return done


@router.post("/proposals/{proposal}/withdraw")
async def withdraw_proposal(
    proposal: UUID, user: Operator, version: rest.IfMatch, response: Response, office: In
) -> Proposal:
    """Take a proposal back."""
    async with office.store.tx() as tx:
        withdrawn = await four_eyes.withdraw(tx, proposal, version=version, user=user, now=office.clock.now())
    rest.tag(response, withdrawn.version)
    return withdrawn


@router.post("/proposals/{proposal}/break-glass")
async def break_glass(
    *, proposal: UUID, asked: Alone, user: Operator, version: rest.IfMatch, response: Response, office: In
) -> Proposal:
    """Do it without a second person, in an emergency: the record says so by its own name, and it is listed."""
    reason = check_words(asked.reason, "The reason")
    done = await four_eyes.carry_out(office, proposal, version=version, user=user, alone=reason)
    rest.tag(response, done.version)
    return done


async def _wish(office: Office, asked: Asked) -> Wish:
    """Make a wish of what was asked, planned as things stand now."""
    reason = check_words(asked.reason, "The reason")
    given = [name for name in Kind if getattr(asked, name) is not None]
    if len(given) != 1:
        raise FieldsWrong((("body", f"exactly one of {', '.join(Kind)}"),))
    if asked.route is not None:
        change, shown = await _route_plan(office, asked.route)
        return Wish(kind=Kind.ROUTE, asked=change, plan=shown["plan"], reason=reason)
    if asked.replay is not None:
        selection, shown = await _replay_plan(office, asked.replay)
        return Wish(kind=Kind.REPLAY, asked=selection, plan=shown["plan"], reason=reason)
    step = asked.agreement or StepAsked.model_construct()
    async with office.store.read() as tx:
        there = await workflow.contract(tx, step.agreement, environment=office.environment, now=office.clock.now())
    if there is None:
        raise NotThere
    return Wish(kind=Kind.AGREEMENT, asked=step.model_dump(mode="json"), plan=None, reason=reason)


def asked_of(found: Proposal) -> Asked:
    """Give what a proposal asks for, as it would be asked for again."""
    plain = dict(found.asked)
    if found.kind is Kind.ROUTE:
        plain["system"] = plain.pop("system_id")
    return Asked.model_validate({found.kind.value: plain, "reason": found.reason})


async def plan_of(office: Office, found: Proposal) -> dict[str, Any] | None:
    """Plan what a proposal asks for as things stand now; a step with an agreement has no plan."""
    now = office.clock.now()
    if found.kind is Kind.ROUTE:
        routes = Routes(store=office.store, vault=office.vault, environment=office.environment)
        return (await routes.plan(Change.of(found.asked), now=now)).plain()
    if found.kind is Kind.REPLAY:
        parked = Parked(store=office.store, vault=office.vault, environment=office.environment)
        return (await parked.plan(Selection.of(found.asked), now=now)).plain()
    return None


async def _route_plan(office: Office, asked: RouteAsked) -> tuple[dict[str, Any], dict[str, Any]]:
    kept = Routes(store=office.store, vault=office.vault, environment=office.environment)
    now = office.clock.now()
    wanted = asked.model_dump() | {"system": str(asked.system)}
    change = await kept.change(**wanted, now=now)
    return change.plain(), (await kept.plan(change, now=now)).plain()


async def _replay_plan(office: Office, asked: ReplayAsked) -> tuple[dict[str, Any], dict[str, Any]]:
    kept = Parked(store=office.store, vault=office.vault, environment=office.environment)
    if asked.cause is not None:
        check_words(asked.cause, "The cause")
    selection = Selection(**asked.model_dump() | {"ids": tuple(asked.ids)})
    return selection.plain(), (await kept.plan(selection, now=office.clock.now())).plain()
