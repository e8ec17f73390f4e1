# SPDX-License-Identifier: MPL-2.0
"""
Log og indsigt: the record searched, with a purpose; look-ups drawn for control; a citizen's report; the chain verified.

A citizen's number comes in a form and stays out of every address and page: from page to page of a search goes its keyed
hash. What a search shows is a row of the record before it is shown, as everywhere.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response

from sygefravaer import audit
from sygefravaer.admin import rest, rest_record
from sygefravaer.admin.access import Role, User, needs
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.problems import status_of
from sygefravaer.admin.screens import forms
from sygefravaer.admin.screens.frame import DENMARK, Screen, Seen, View
from sygefravaer.admin.screens.texts import danish
from sygefravaer.admin.screens.verification import Verification
from sygefravaer.agreements import organisations, system_names
from sygefravaer.audit import Event, Month
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.errors import FieldsWrong, SygefravaerError

LOOKERS: Final = frozenset({Role.MUNICIPALITY, Role.OPERATOR, Role.AUDITOR})
SCREEN: Final = Screen(name="record", path="/log", label=danish("Log og indsigt"), roles=LOOKERS)
router: Final = SCREEN.router()
Looker = Annotated[User, Depends(SCREEN.users)]
Watcher = Annotated[User, Depends(needs(Role.OPERATOR, Role.AUDITOR))]

PAGE: Final = 50
HASH: Final = 32  # bytes of a keyed hash
EVENTS: Final = tuple(sorted(one.value for one in Event))
FINDINGS: Final = {
    "changed": danish("ændret, indsat eller flyttet"),
    "missing": danish("slettet"),
    "cut": danish("enden er slettet"),
    "rewritten": danish("en anden række end den, ankeret kender"),
    "foreign": danish("ikke skrevet af systemet"),
    "orphaned": danish("nævner en række, der er væk"),
    "lost": danish("var skrevet, og var væk før forsegling"),
    "unrecorded": danish("en besked, hvis række er væk"),
    "unproven": danish("en begyndelse, som nøglen ikke har underskrevet"),
}


class Asked(rest.Body):
    """What the form of a search holds besides what the API knows: whole days, and the hash instead of the number."""

    first: date | None = None
    last: date | None = None
    person: str | None = None


@router.get(SCREEN.path)
async def page(user: Looker, view: Seen, office: In) -> Response:
    """Show the form of a search."""
    return await _search(view, office, user, {})


@router.post(SCREEN.path)
async def search(request: Request, user: Looker, view: Seen, office: In) -> Response:
    """Show what a search finds."""
    fields = await forms.sent(request)
    try:
        found = await _found(office, user, fields)
    except SygefravaerError as error:
        return await _search(view, office, user, fields, request=request, refused=error)
    return await _search(view, office, user, fields, found=found)


@router.post(SCREEN.path + "/udtraek")
async def export(request: Request, user: Looker, view: Seen, office: In) -> Response:
    """Take what a search finds out, as a file."""
    fields = await forms.sent(request)
    try:
        look, persons = _look(rest_record.Export, fields)
        return await rest_record.export_rows(look, user, office, persons=persons)
    except SygefravaerError as error:
        return await _search(view, office, user, fields, request=request, refused=error)


async def _found(office: Office, user: User, fields: dict[str, str]) -> dict[str, Any]:
    """Search; the citizen of the next page is named by the keyed hash."""
    asked, persons = _look(rest_record.Search, fields, limit=PAGE + 1)
    rows, known = await rest_record.search_rows(asked, user, office, persons=persons)
    shown = rows[:PAGE]
    return {
        "rows": shown,
        "after": shown[-1]["audit_id"] if len(rows) > PAGE else None,
        "person": "-".join(one.hex() for one in known),
        "systems": await _systems(office),
    }


def _look(
    form: type[rest_record.LookT], fields: dict[str, str], **more: Any
) -> tuple[rest_record.LookT, tuple[bytes, ...]]:
    """Read a search from its form: whole Danish days, and who it is about by number or, later, by hash."""
    own = {name: fields[name] for name in Asked.model_fields if name in fields}
    rest_of = {name: value for name, value in fields.items() if name not in own}
    days = forms.read(Asked, own)
    given: dict[str, Any] = {}
    if days.first is not None:
        given["since"] = _midnight(days.first)
    if days.last is not None:
        given["until"] = _midnight(days.last + timedelta(days=1))
    asked = forms.read(form, rest_of, **given, **more)
    return asked, () if asked.citizen is not None else _hashes(days.person)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=DENMARK)


def _hashes(text: str | None) -> tuple[bytes, ...]:
    try:
        found = tuple(bytes.fromhex(one) for one in (text or "").split("-") if one)
    except ValueError:
        found = (b"",)
    if any(len(one) != HASH for one in found):
        raise FieldsWrong((("person", "the hash that the page before gave"),))
    return found


async def _systems(office: Office) -> dict[str, str]:
    async with office.store.read() as tx:
        return {str(number): name for number, name in (await system_names(tx)).items()}


async def _search(
    view: View,
    office: Office,
    user: User,
    given: dict[str, str],
    *,
    found: dict[str, Any] | None = None,
    request: Request | None = None,
    refused: SygefravaerError | None = None,
) -> Response:
    problem = await forms.refusal(request, refused) if request is not None and refused is not None else None
    async with office.store.read() as tx:
        systems = await organisations.systems(
            tx, environment=office.environment, cvr=None if user.everywhere else user.cvr
        )
    return view.page(
        "record/search.html",
        status=200 if refused is None else status_of(refused),
        given=forms.Given({name: value for name, value in given.items() if name not in {"citizen", "after", "person"}}),
        found=found,
        systems=systems,
        events=EVENTS,
        operations=list(OPERATIONS),
        municipalities=MUNICIPALITIES if user.everywhere else {},
        problem=problem,
    )


# --- look-ups drawn for control ---


@router.get(SCREEN.path + "/stikproeve")
async def sample_form(user: Looker, view: Seen, office: In) -> Response:
    """Show the form of a draw."""
    today = office.clock.now().astimezone(DENMARK).date()
    before = today.replace(day=1) - timedelta(days=1)
    return _sample(view, user, {"month": f"{before:%Y-%m}", "number": "20"})


@router.post(SCREEN.path + "/stikproeve")
async def sample(request: Request, user: Looker, view: Seen, office: In) -> Response:
    """Draw, or show what was drawn."""
    fields = await forms.sent(request)
    try:
        drawn = await rest_record.sample_record(forms.read(rest_record.Draw, fields), user, office)
    except SygefravaerError as error:
        problem = await forms.refusal(request, error)
        return _sample(view, user, fields, status=status_of(error), problem=problem)
    return _sample(view, user, fields, drawn=drawn | {"systems": await _systems(office)})


def _sample(
    view: View,
    user: User,
    given: dict[str, str],
    *,
    status: int = 200,
    drawn: dict[str, Any] | None = None,
    problem: dict[str, Any] | None = None,
) -> Response:
    return view.page(
        "record/sample.html",
        status=status,
        given=forms.Given(given),
        drawn=drawn,
        first=None if drawn is None else Month.of(drawn["month"]).first,
        municipalities=MUNICIPALITIES if user.everywhere else {},
        problem=problem,
        before=audit.BEFORE.days,
        after=audit.AFTER.days,
    )


# --- a citizen's report ---


@router.get(SCREEN.path + "/indsigt")
async def report_form(_user: Looker, view: Seen) -> Response:
    """Show the form of an access report."""
    return view.page("record/report.html", given=forms.Given(), problem=None)


@router.post(SCREEN.path + "/indsigt")
async def report(request: Request, user: Looker, view: Seen, office: In) -> Response:
    """Make a citizen's access report, as a file."""
    fields = await forms.sent(request)
    try:
        asked = forms.read(rest_record.Report, fields)
        made = await rest_record.report_record(asked, user, office)
    except SygefravaerError as error:
        problem = await forms.refusal(request, error)
        given = {name: value for name, value in fields.items() if name != "citizen"}
        return view.page("record/report.html", status=status_of(error), given=forms.Given(given), problem=problem)
    made.headers["Content-Disposition"] = f'attachment; filename="indsigt.{asked.format.value}"'
    return made


# --- the chain ---


@router.get(SCREEN.path + "/kontrol")
async def verification(request: Request, _user: Watcher, view: Seen, office: In) -> Response:
    """Show how far the verification is, or what it found."""
    running = Verification.of(request.app)
    return view.page(
        "record/verification.html",
        running=running,
        configured=office.record is not None,
        FINDINGS=FINDINGS,
    )


@router.post(SCREEN.path + "/kontrol")
async def verify(request: Request, user: Watcher, view: Seen, office: In) -> Response:
    """Begin to verify the record, unless somebody has."""
    Verification.of(request.app).begin(office, who=user.name)
    return view.go(SCREEN.path + "/kontrol")
