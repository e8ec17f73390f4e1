# SPDX-License-Identifier: MPL-2.0
"""Ruter: where what is for a municipality goes, from which day on; a change as a plan; why it goes there."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from sygefravaer.admin import proposing, rest, rest_watch, routing
from sygefravaer.admin.access import Role, User, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.problems import status_of
from sygefravaer.admin.screens import forms, words
from sygefravaer.admin.screens.frame import DENMARK, Screen, Seen, View
from sygefravaer.admin.screens.municipality_map import drawn
from sygefravaer.admin.screens.texts import danish
from sygefravaer.agreements import ALL, certificates, danish_day, organisations
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.contract.values import MUNICIPALITIES, municipality_name
from sygefravaer.delivery import Routes
from sygefravaer.errors import SygefravaerError

SCREEN: Final = Screen(name="routes", path="/ruter", label=danish("Ruter"))
router: Final = SCREEN.router()
Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Tester = Annotated[User, Depends(needs(Role.VENDOR, Role.MUNICIPALITY, Role.OPERATOR))]
Known = Annotated[User, Depends(SCREEN.users)]
Cvr = Annotated[str | None, Query(alias="kommune", pattern="^([0-9]{8})?$")]
NOON: Final = time(12)  # a question about a day is about its middle
VERDICTS: Final = {
    "chosen": danish("Gælder"),
    "overridden": danish("Træder tilbage"),
    "not begun": danish("Ikke begyndt"),
    "ended": danish("Udløbet"),
    "of another environment": danish("Andet miljø"),
}


class Reason(rest.Body):
    """Why a planned change is proposed, and the plan that was shown."""

    reason: rest.Words
    plan: str


@router.get(SCREEN.path)
async def page(
    user: Known,
    view: Seen,
    office: In,
    *,
    service: Annotated[Service, Query()] = Service.SYGEFRAVAER_JC,
    on: Annotated[str | None, Query(alias="dag")] = None,
    municipality: Cvr = None,
) -> Response:
    """Show the map of a day, and every route with its days."""
    return await _page(view, office, user, service=service, on=_day(on, office), municipality=municipality)


async def _page(
    view: View,
    office: Office,
    user: User,
    *,
    service: Service,
    on: date,
    municipality: str | None = None,
    tested: dict[str, Any] | None = None,
) -> Response:
    seen = await routing.list_routes(user, office, service=service)
    known = {one["route"] for one in seen}
    kept = Routes(store=office.store, vault=office.vault, environment=office.environment)
    counting = {cvr: route for cvr, route in (await kept.counting(service, on=on)).items() if route["route"] in known}
    whole = drawn(counting)
    shown = [one for one in seen if not municipality or one["municipality"] in {municipality, ALL}]
    return view.page(
        "routes/page.html",
        live=["routes"],
        map=whole,
        routes=[one | {"counts": _counts(one, on)} for one in sorted(shown, key=_place)],
        service=service.value,
        services=[one.value for one in Service],
        on=on,
        today=danish_day(office.clock.now()),
        municipality=municipality or "",
        municipalities=MUNICIPALITIES,
        tested=tested,
        may_test=bool(user.roles & {Role.VENDOR, Role.MUNICIPALITY, Role.OPERATOR}) and office.tls is not None,
    )


def _place(route: dict[str, Any]) -> tuple[bool, str, str]:
    """Give where a route stands in the table: that of all first, then by the municipality's name and the first day."""
    cvr = route["municipality"]
    return cvr != ALL, "" if cvr == ALL else municipality_name(cvr), route["valid_from"]


def _counts(route: dict[str, Any], on: date) -> str:
    """Say whether a day is before, within or after the days of a route."""
    if route["valid_from"] > on.isoformat():
        return "before"
    return "after" if route["valid_to"] is not None and route["valid_to"] < on.isoformat() else "within"


def _day(text: str | None, office: Office) -> date:
    """Read a day from an address; what is none is today."""
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return danish_day(office.clock.now())


@router.post(SCREEN.path + "/{route}/proev")
async def try_route(request: Request, route: UUID, user: Tester, view: Seen, office: In) -> Response:
    """Call a route's address as the gateway would, with an empty request."""
    fields = await forms.sent(request)
    service = Service(fields["service"]) if fields.get("service") in set(Service) else Service.SYGEFRAVAER_JC
    tested: dict[str, Any]
    try:
        told = await routing.test_route(route, user, office)
        tested = {"passed": told.passed, "reached": told.reached, "seconds": told.seconds, "problem": None}
    except SygefravaerError as error:
        tested = {"passed": False, "problem": await forms.refusal(request, error)}
    return await _page(view, office, user, service=service, on=danish_day(office.clock.now()), tested=tested)


# --- a change: planned, then proposed ---


@router.get(SCREEN.path + "/ny")
async def form(_user: Operator, view: Seen, office: In, *, municipality: Cvr = None) -> Response:
    """Show the form of a change."""
    given = {"municipality": municipality or "", "service": Service.SYGEFRAVAER_JC.value}
    return await _form(view, office, given)


@router.post(SCREEN.path + "/plan")
async def plan(request: Request, user: Operator, view: Seen, office: In) -> Response:
    """Show what a change would do, before anybody proposes it."""
    fields = await forms.sent(request)
    try:
        asked = forms.read(proposing.RouteAsked, fields)
        shown = await proposing.plan_route(asked, user, office)
    except SygefravaerError as error:
        return await _form(view, office, fields, request=request, refused=error)
    return await _planned(view, office, fields, shown)


@router.post(SCREEN.path + "/forslag")
async def propose(request: Request, user: Operator, view: Seen, office: In) -> Response:
    """Propose the change whose plan was shown; when it is another one now, show that first."""
    fields = await forms.sent(request)
    why = {name: value for name, value in fields.items() if name in Reason.model_fields}
    fields = {name: value for name, value in fields.items() if name not in why}
    try:
        asked = forms.read(proposing.RouteAsked, fields)
        shown = await proposing.plan_route(asked, user, office)
    except SygefravaerError as error:
        return await _form(view, office, fields, request=request, refused=error)
    try:
        reason = forms.read(Reason, why)
        if shown["plan"] != reason.plan:
            return await _planned(view, office, fields | why, shown, changed=True)
        wish = proposing.Asked(route=asked, reason=reason.reason)
        made = await proposing.propose(wish, user, Response(), office)
    except SygefravaerError as error:
        return await _planned(view, office, fields | why, shown, request=request, refused=error)
    return view.go(f"/forslag/{made.proposal_id}", done="made")


async def _planned(
    view: View,
    office: Office,
    fields: dict[str, str],
    shown: dict[str, Any],
    *,
    changed: bool = False,
    request: Request | None = None,
    refused: SygefravaerError | None = None,
) -> Response:
    problem = await forms.refusal(request, refused) if request is not None and refused is not None else None
    async with office.store.read() as tx:
        system = await organisations.system(tx, UUID(shown["change"]["system_id"]), environment=office.environment)
    return view.page(
        "routes/plan.html",
        status=200 if refused is None else status_of(refused),
        plan=shown,
        about={"system": "" if system is None else system.name},
        given=forms.Given(fields),
        changed=changed,
        problem=problem,
    )


async def _form(
    view: View,
    office: Office,
    given: dict[str, str],
    *,
    request: Request | None = None,
    refused: SygefravaerError | None = None,
) -> Response:
    problem = await forms.refusal(request, refused) if request is not None and refused is not None else None
    async with office.store.read() as tx:
        systems = await organisations.systems(tx, environment=office.environment)
    return view.page(
        "routes/form.html",
        status=200 if refused is None else status_of(refused),
        given=forms.Given(given),
        systems=systems,
        services=[one.value for one in Service],
        municipalities=MUNICIPALITIES,
        today=danish_day(office.clock.now()),
        problem=problem,
    )


# --- explain ---


@router.get(SCREEN.path + "/forklar")
async def explain(
    request: Request,
    user: Known,
    view: Seen,
    office: In,
    *,
    municipality: Cvr = None,
    service: Annotated[str, Query()] = Service.SYGEFRAVAER_JC.value,
    operation: Annotated[str | None, Query(alias="snitflade", max_length=64)] = None,
    certificate: Annotated[str | None, Query(alias="certifikat", pattern="^([0-9a-f]{64})?$")] = None,
    on: Annotated[str | None, Query(alias="dag")] = None,
) -> Response:
    """Say why a call passes or does not, and why a message goes where it goes."""
    wanted = Service(service) if service in set(Service) else Service.SYGEFRAVAER_JC
    day = _day(on, office)
    at = office.clock.now()
    if day != danish_day(at):
        at = datetime.combine(day, NOON, tzinfo=DENMARK).astimezone(UTC)
    async with office.store.read() as tx:
        held = await certificates.inventory(
            tx,
            environment=office.environment,
            cvr=None if user.everywhere else user.cvr,
            now=office.clock.now(),
            machine=office.machine(),
        )
    way = access = problem = None
    status = 200
    may_ask_way = bool(user.roles - {Role.VENDOR})
    try:
        if municipality and operation and certificate:
            access = await rest_watch.explain_access(certificate, municipality, operation, user, office, at)
        elif municipality and may_ask_way:
            way = await rest_watch.explain_route(municipality, user, office, wanted, at)
    except SygefravaerError as error:
        problem, status = await forms.refusal(request, error), status_of(error)
    return view.page(
        "routes/explain.html",
        status=status,
        way=way,
        access=access,
        problem=problem,
        held=held,
        operations=list(OPERATIONS),
        services=[one.value for one in Service],
        municipalities=MUNICIPALITIES if user.everywhere or Role.VENDOR in user.roles else _own(user),
        may_ask_way=may_ask_way,
        given={
            "municipality": municipality or ("" if user.everywhere else user.cvr),
            "service": wanted.value,
            "operation": operation or "",
            "certificate": certificate or "",
            "on": day,
        },
        VERDICTS=VERDICTS,
        PARTIES=words.PARTIES,
    )


def _own(user: User) -> dict[str, Any]:
    return {cvr: one for cvr, one in MUNICIPALITIES.items() if cvr == user.cvr}
