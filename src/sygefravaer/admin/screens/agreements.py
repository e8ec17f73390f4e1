# SPDX-License-Identifier: MPL-2.0
"""Aftaler: which there are, one of them with what may be done with it, and what waits for whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from sygefravaer.admin import agreeing, four_eyes, proposing, registers, rest
from sygefravaer.admin.access import Role, User, needs
from sygefravaer.admin.four_eyes import Kind, Proposal, State
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.problems import status_of
from sygefravaer.admin.screens import forms, words
from sygefravaer.admin.screens.frame import Screen, Seen, View
from sygefravaer.admin.screens.texts import danish
from sygefravaer.agreements import Status, organisations, preflight, workflow
from sygefravaer.agreements.preflight import Check
from sygefravaer.agreements.workflow import TURNS, Contract, Move
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.errors import NotThere, SygefravaerError

SCREEN: Final = Screen(
    name="agreements",
    path="/aftaler",
    label=danish("Aftaler"),
    done={
        "draft": danish("Kladden er gemt. Send den som anmodning, når tjekket er i orden."),
        "request": danish("Anmodningen er sendt til kommunen."),
        "try": danish("Prøvetilslutningen er begyndt."),
        "remind": danish("Kommunen får en påmindelse."),
        "cancel": danish("Aftalen er annulleret."),
        "approve": danish("Aftalen er godkendt."),
        "reject": danish("Anmodningen er afvist."),
        "terminate": danish("Aftalen er opsagt."),
    },
)
router: Final = SCREEN.router()
Vendor = Annotated[User, Depends(needs(Role.VENDOR))]
Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Known = Annotated[User, Depends(SCREEN.users)]

PENDING: Final = frozenset({Status.DRAFT, Status.REQUESTED})
IN_FORCE: Final = frozenset({Status.APPROVED, Status.SUSPENDED})
PROPOSED: Final = (Move.SUSPEND, Move.RESUME, Move.TERMINATE)
"""What an operator proposes, and another one confirms."""

WAITS: Final[Mapping[Status, str]] = {
    Status.DRAFT: danish("Leverandøren, som ikke har sendt den endnu"),
    Status.REQUESTED: danish("Kommunen, som skal godkende eller afvise"),
}
MEANING: Final[Mapping[str, str]] = {
    "draft": danish("Kun leverandøren ser kladden. Intet gælder endnu."),
    "requested": danish("Kommunen er spurgt. Intet gælder, før den har godkendt."),
    "approved": danish("Kald efter aftalen bliver taget imod."),
    "approved, not begun": danish("Aftalen er godkendt og gælder fra sin første dag."),
    "rejected": danish("Kommunen har sagt nej. Leverandøren kan oprette en ny."),
    "cancelled": danish("Leverandøren har trukket den tilbage."),
    "suspended": danish("Driften har sat aftalen på pause: intet nyt bliver taget imod."),
    "terminated": danish("Det, der var modtaget, bliver leveret. Intet nyt bliver taget imod."),
    "expired": danish("Sidste dag er forbi. Intet nyt bliver taget imod."),
}
STEPS: Final[Mapping[Move, Callable[..., Awaitable[Contract]]]] = {
    Move.REQUEST: agreeing.request_agreement,
    Move.TRY: agreeing.try_agreement,
    Move.CANCEL: agreeing.cancel_agreement,
    Move.APPROVE: agreeing.approve_agreement,
    Move.REJECT: agreeing.reject_agreement,
    Move.TERMINATE: agreeing.terminate_agreement,
}
"""The API's own steps: who may take one is decided there."""


class Wanted(rest.Body):
    """A step that somebody takes, with the agreement as he saw it."""

    version: int
    reason: rest.Words | None = None


@router.get(SCREEN.path)
async def page(
    user: Known,
    view: Seen,
    office: In,
    *,
    municipality: Annotated[str | None, Query(alias="kommune", pattern="^([0-9]{8})?$")] = None,
    status: Annotated[str | None, Query(alias="tilstand")] = None,
    after: Annotated[UUID | None, Query(alias="efter")] = None,
) -> Response:
    """List the agreements that somebody may see, and first of all what waits for him."""
    wanted = Status(status) if status in set(Status) else None
    paging = rest.Paging(limit=rest.PAGE, after=after)
    listed = await agreeing.list_agreements(
        user=user, paging=paging, office=office, municipality=municipality or None, status=wanted
    )
    return view.page(
        "agreements/list.html",
        live=["agreements"],
        rows=listed.items,
        following=listed.next,
        mine=await _waiting(office, user),
        municipality=municipality or "",
        status_wanted="" if wanted is None else wanted.value,
        statuses=[one.value for one in Status],
        municipalities=MUNICIPALITIES,
        may_choose=user.everywhere or Role.VENDOR in user.roles,
        STATUSES=words.STATUSES,
        WAITS=WAITS,
    )


async def _waiting(office: Office, user: User) -> list[Contract]:
    """Give what waits for somebody: of a municipality the requests, of a vendor his drafts."""
    found: list[Contract] = []
    for role, status in ((Role.MUNICIPALITY, Status.REQUESTED), (Role.VENDOR, Status.DRAFT)):
        if role not in user.roles:
            continue
        async with office.store.read() as tx:
            rows = await workflow.contracts(
                tx, environment=office.environment, cvr=user.cvr, status=status, now=office.clock.now()
            )
        found += [one for one in rows if user.cvr in {one.municipality_cvr, one.vendor_cvr}]
    return found


# --- a new one, or a change ---


@router.get(SCREEN.path + "/ny")
async def form(
    user: Vendor, view: Seen, office: In, *, replaces: Annotated[UUID | None, Query(alias="erstatter")] = None
) -> Response:
    """Show the form of a new agreement, or of a change of one that stays in force meanwhile."""
    given: dict[str, str] = {"valid_from": ""}
    if replaces is not None:
        async with office.store.read() as tx:
            old = await agreeing.seen_agreement(tx, office, user, replaces)
        given = {
            "system": str(old.system_id),
            "service": old.service.value,
            "municipality": old.municipality_cvr,
            "replaces": str(replaces),
        }
    return await _form(view, office, user, given)


@router.post(SCREEN.path)
async def draft(request: Request, user: Vendor, view: Seen, office: In) -> Response:
    """Draft an agreement."""
    fields = await forms.sent(request)
    try:
        asked = forms.read(agreeing.NewAgreement, fields)
        made = await agreeing.draft_agreement(asked, user, Response(), office)
    except SygefravaerError as error:
        return await _form(view, office, user, fields, request=request, refused=error)
    return view.go(f"{SCREEN.path}/{made.agreement_id}", done="draft")


async def _form(
    view: View,
    office: Office,
    user: User,
    given: Mapping[str, str],
    *,
    request: Request | None = None,
    refused: SygefravaerError | None = None,
) -> Response:
    async with office.store.read() as tx:
        systems = await organisations.systems(tx, environment=office.environment, cvr=user.cvr)
        old = None
        if given.get("replaces") and refused is None:
            old = await agreeing.seen_agreement(tx, office, user, UUID(given["replaces"]))
    problem = await forms.refusal(request, refused) if request is not None and refused is not None else None
    return view.page(
        "agreements/form.html",
        status=200 if refused is None else status_of(refused),
        given=forms.Given(given),
        systems=[one for one in systems if one.vendor_cvr == user.cvr],
        offers=await registers.list_services(user, office),
        municipalities=MUNICIPALITIES,
        old=old,
        problem=problem,
    )


# --- one ---


@router.get(SCREEN.path + "/{agreement}")
async def one(agreement: UUID, user: Known, view: Seen, office: In) -> Response:
    """Show an agreement."""
    return await _one(view, office, user, agreement)


@router.post(SCREEN.path + "/{agreement}/remind")
async def remind(request: Request, agreement: UUID, user: Vendor, view: Seen, office: In) -> Response:
    """Let the municipality be told again."""
    try:
        await agreeing.remind_of_agreement(agreement, user, office)
    except SygefravaerError as error:
        return await _one(view, office, user, agreement, request=request, refused=error)
    return view.go(f"{SCREEN.path}/{agreement}", done="remind")


@router.post(SCREEN.path + "/{agreement}/propose/{step}")
async def propose(*, request: Request, agreement: UUID, step: Move, user: Operator, view: Seen, office: In) -> Response:
    """Propose a step for another operator to confirm."""
    fields = await forms.sent(request)
    try:
        wanted = forms.read(Wanted, fields)
        wish = proposing.StepAsked.model_validate(
            {"agreement": agreement, "step": step.value, "version": wanted.version}
        )
        asked = forms.read(proposing.Asked, {"reason": wanted.reason or ""}, agreement=wish)
        made = await proposing.propose(asked, user, Response(), office)
    except SygefravaerError as error:
        return await _one(view, office, user, agreement, request=request, refused=error, given=fields)
    return view.go(f"/forslag/{made.proposal_id}", done="made")


@router.post(SCREEN.path + "/{agreement}/{step}")
async def take(*, request: Request, agreement: UUID, step: Move, user: Known, view: Seen, office: In) -> Response:
    """Take a step that is the vendor's or the municipality's."""
    act = STEPS.get(step)
    if act is None:
        raise NotThere
    await needs(Role.VENDOR if step in {Move.REQUEST, Move.TRY, Move.CANCEL} else Role.MUNICIPALITY)(user)
    fields = await forms.sent(request)
    try:
        wanted = forms.read(Wanted, fields)
        about: dict[str, Any] = {"agreement": agreement, "user": user, "version": wanted.version, "office": office}
        if TURNS[step].reason:
            about["asked"] = forms.read(agreeing.Why, {"reason": wanted.reason or ""})
        await act(**about, response=Response())
    except SygefravaerError as error:
        return await _one(view, office, user, agreement, request=request, refused=error, given=fields)
    return view.go(f"{SCREEN.path}/{agreement}", done=step.value)


async def _one(
    view: View,
    office: Office,
    user: User,
    agreement: UUID,
    *,
    request: Request | None = None,
    refused: SygefravaerError | None = None,
    given: Mapping[str, str] | None = None,
) -> Response:
    now = office.clock.now()
    problem = await forms.refusal(request, refused) if request is not None and refused is not None else None
    async with office.store.read() as tx:
        found = await agreeing.seen_agreement(tx, office, user, agreement)
        vendor = await organisations.name_of(tx, found.vendor_cvr)
        changes = [
            one
            for one in await workflow.contracts(
                tx,
                environment=office.environment,
                cvr=None if user.everywhere else user.cvr,
                replaces=agreement,
                now=now,
            )
            if one.status in PENDING | IN_FORCE
        ]
        replaced = None
        if found.replaces is not None:
            replaced = await workflow.contract(tx, found.replaces, environment=office.environment, now=now)
        checks: tuple[Check, ...] = ()
        if found.status in PENDING:
            checks = await preflight.checks(tx, agreement, now=now, machine=office.machine())
        proposals: list[Proposal] = []
        if user.everywhere:
            proposals = await four_eyes.proposals(tx, status=State.OPEN, kind=Kind.AGREEMENT, agreement=agreement)
    return view.page(
        "agreements/one.html",
        status=200 if refused is None else status_of(refused),
        live=["agreements"],
        one=found,
        vendor=vendor,
        changes=changes,
        replaced=replaced,
        checks=checks,
        blocked=any(one.blocking and not one.passed for one in checks),
        proposals=proposals,
        begun=_begun(found, now.date()),
        mine=found.vendor_cvr == user.cvr and Role.VENDOR in user.roles,
        ours=found.municipality_cvr == user.cvr and Role.MUNICIPALITY in user.roles,
        may_try=office.environment is Environment.TEST,
        given=forms.Given(given or {}),
        problem=problem,
        pending=found.status in PENDING,
        in_force=found.status in IN_FORCE,
        STATUSES=words.STATUSES,
        MEANING=MEANING,
        WAITS=WAITS,
        CHECKS=words.CHECKS,
        proposed=[one for one in PROPOSED if found.status in TURNS[one].source],
        SERVICES=list(Service),
    )


def _begun(found: Contract, today: date) -> bool:
    return found.valid_from <= today
