# SPDX-License-Identifier: MPL-2.0
"""Forslag: what takes two persons, who waits for whom, and one proposal with what it would do as things stand now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request, Response

from sygefravaer.admin import four_eyes, proposing, rest
from sygefravaer.admin.access import Role, User, needs
from sygefravaer.admin.four_eyes import Kind, Proposal, State
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.problems import status_of
from sygefravaer.admin.screens import forms, words
from sygefravaer.admin.screens.frame import Screen, Seen, View
from sygefravaer.admin.screens.texts import danish
from sygefravaer.agreements import organisations, workflow
from sygefravaer.contract.values import municipality_name
from sygefravaer.errors import SygefravaerError, UsageError

SCREEN: Final = Screen(
    name="proposals",
    path="/forslag",
    label=danish("Forslag"),
    roles=frozenset({Role.OPERATOR, Role.AUDITOR}),
    done={
        "made": danish("Forslaget er stillet. Det venter på en anden person."),
        "confirm": danish("Forslaget er bekræftet og udført."),
        "withdraw": danish("Forslaget er trukket tilbage."),
        "again": danish("Planen er lagt igen, og du står nu som forslagsstiller. Det venter på en anden person."),
        "alone": danish("Forslaget er udført af én person. Det står i loggen under sit eget navn."),
    },
)
router: Final = SCREEN.router()
Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Known = Annotated[User, Depends(SCREEN.users)]

RECENT: Final = 20  # closed proposals that the list shows

KINDS: Final = {
    Kind.ROUTE: danish("Rute"),
    Kind.AGREEMENT: danish("Aftale"),
    Kind.REPLAY: danish("Genafsendelse"),
}
STATES: Final = {
    State.OPEN: danish("Venter på en anden person"),
    State.CONFIRMED: danish("Bekræftet, under udførelse"),
    State.DONE: danish("Udført"),
    State.WITHDRAWN: danish("Trukket tilbage"),
    State.FAILED: danish("Kunne ikke udføres"),
}
STEPS: Final = {
    "suspend": danish("suspenderes"),
    "resume": danish("genoptages"),
    "terminate": danish("opsiges"),
}


class Version(rest.Body):
    """The proposal as somebody saw it; `reason` is of who does it alone."""

    version: int
    reason: rest.Words | None = None


@dataclass(frozen=True, kw_only=True)
class Now:
    """What a proposal would do as things stand: its plan, whether it is the one that was shown, why there is none."""

    plan: dict[str, Any] | None = None
    same: bool = True
    code: str = ""


@router.get(SCREEN.path)
async def page(user: Known, view: Seen, office: In) -> Response:
    """List what waits, for whom, and what was done lately."""
    async with office.store.read() as tx:
        open_ = await four_eyes.proposals(tx, status=State.OPEN)
        closed = await four_eyes.closed(tx, limit=RECENT)
        names = await subjects(tx, office, [*open_, *closed])
        own = await four_eyes.own(tx, user)
    return view.page(
        "proposals/list.html",
        live=["routes", "agreements"],
        theirs=[one for one in open_ if one.proposal_id not in own],
        own=[one for one in open_ if one.proposal_id in own],
        closed=closed,
        names=names,
        KINDS=KINDS,
        STATES=STATES,
    )


async def subjects(tx: Any, office: Office, proposals: list[Proposal]) -> dict[UUID, dict[str, str]]:
    """Name what proposals are about: whose route or agreement, and which system."""
    found: dict[UUID, dict[str, str]] = {}
    for one in proposals:
        asked = one.asked
        if one.kind is Kind.ROUTE:
            system = await organisations.system(tx, UUID(asked["system_id"]), environment=office.environment)
            found[one.proposal_id] = {
                "municipality": _municipality(asked["municipality"]),
                "system": system.name if system else asked["system_id"],
                "service": asked["service"],
            }
        elif one.kind is Kind.AGREEMENT:
            about = await workflow.contract(
                tx, UUID(asked["agreement"]), environment=office.environment, now=office.clock.now()
            )
            found[one.proposal_id] = {
                "municipality": municipality_name(about.municipality_cvr) if about else "",
                "system": about.system if about else "",
                "service": about.service.value if about else "",
            }
        else:
            cvr = asked.get("municipality")
            found[one.proposal_id] = {
                "municipality": _municipality(cvr) if cvr else "*",
                "system": str(asked.get("recipient") or ""),
                "service": str(asked.get("cause") or ""),
            }
    return found


def _municipality(cvr: str) -> str:
    return cvr if cvr == "*" else municipality_name(cvr)


@router.get(SCREEN.path + "/{proposal}")
async def one(proposal: UUID, user: Known, view: Seen, office: In) -> Response:
    """Show one."""
    return await _one(view, office, user, proposal)


@router.post(SCREEN.path + "/{proposal}/confirm")
async def confirm(request: Request, proposal: UUID, user: Operator, view: Seen, office: In) -> Response:
    """Confirm what another person has proposed."""
    return await _act(request, view, office, user, proposal, "confirm")


@router.post(SCREEN.path + "/{proposal}/withdraw")
async def withdraw(request: Request, proposal: UUID, user: Operator, view: Seen, office: In) -> Response:
    """Take a proposal back."""
    return await _act(request, view, office, user, proposal, "withdraw")


@router.post(SCREEN.path + "/{proposal}/again")
async def again(request: Request, proposal: UUID, user: Operator, view: Seen, office: In) -> Response:
    """Propose the same, planned anew as things stand now."""
    return await _act(request, view, office, user, proposal, "again")


@router.post(SCREEN.path + "/{proposal}/alone")
async def alone(request: Request, proposal: UUID, user: Operator, view: Seen, office: In) -> Response:
    """Do it without a second person."""
    return await _act(request, view, office, user, proposal, "alone")


async def _act(  # noqa: PLR0917
    request: Request, view: View, office: Office, user: User, proposal: UUID, act: str
) -> Response:
    fields = await forms.sent(request)
    try:
        asked = forms.read(Version, fields)
        about: dict[str, Any] = {"user": user, "version": asked.version, "response": Response(), "office": office}
        if act == "confirm":
            await proposing.confirm_proposal(proposal, **about)
        elif act == "withdraw":
            await proposing.withdraw_proposal(proposal, **about)
        elif act == "again":
            found = await proposing.show_proposal(proposal, user, Response(), office)
            await proposing.change_proposal(proposal=proposal, asked=proposing.asked_of(found), **about)
        else:
            why = forms.read(proposing.Alone, {"reason": asked.reason or ""})
            await proposing.break_glass(proposal=proposal, asked=why, **about)
    except SygefravaerError as error:
        return await _one(view, office, user, proposal, request=request, refused=error, given=fields)
    return view.go(f"{SCREEN.path}/{proposal}", done=act)


async def _one(
    view: View,
    office: Office,
    user: User,
    proposal: UUID,
    *,
    request: Request | None = None,
    refused: SygefravaerError | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    problem = await forms.refusal(request, refused) if request is not None and refused is not None else None
    found = await proposing.show_proposal(proposal, user, Response(), office)
    async with office.store.read() as tx:
        names = await subjects(tx, office, [found])
        own = proposal in await four_eyes.own(tx, user)
    return view.page(
        "proposals/one.html",
        status=200 if refused is None else status_of(refused),
        live=["routes", "agreements"],
        one=found,
        about=names[proposal],
        own=own,
        as_now=await _as_now(office, found) if found.status is State.OPEN else Now(),
        given=forms.Given(given or {}),
        problem=problem,
        KINDS=KINDS,
        STATES=STATES,
        STEPS=STEPS,
        PARTIES=words.PARTIES,
    )


async def _as_now(office: Office, found: Proposal) -> Now:
    """Plan an open proposal as things stand now, and compare it with what was proposed."""
    try:
        shown = await proposing.plan_of(office, found)
    except UsageError as error:  # what was asked for cannot be any more
        return Now(same=False, code=error.code)
    except SygefravaerError as error:
        return Now(same=False, code=error.code)
    return Now(plan=shown, same=shown is None or shown["plan"] == found.plan)
