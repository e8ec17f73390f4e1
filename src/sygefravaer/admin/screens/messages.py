# SPDX-License-Identifier: MPL-2.0
"""Beskeder: what the gateway carries, narrowed as one likes, by page or grouped by what went wrong; and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from fastapi import Depends, Form, Query, Response
from fastapi.responses import StreamingResponse

from sygefravaer.admin import four_eyes, looking
from sygefravaer.admin.access import Role, User, must_own, needs
from sygefravaer.admin.four_eyes import Kind, Wish
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.problems import problem_of
from sygefravaer.admin.screens.frame import Screen, Seen, View
from sygefravaer.admin.screens.texts import danish
from sygefravaer.contract.codes import fejl_text
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.delivery import Plan, Selection, browsing
from sygefravaer.delivery.browsing import Filter
from sygefravaer.delivery.parked import check_words
from sygefravaer.errors import PlanChanged, SygefravaerError, UsageError
from sygefravaer.lanes import Status

SCREEN: Final = Screen(
    name="messages",
    path="/beskeder",
    label=danish("Beskeder"),
    done={
        "kept": danish("Visningen er gemt."),
        "dropped": danish("Visningen er slettet."),
        "proposed": danish("Afspilningen er foreslået. Den udføres, når en anden person har bekræftet den."),
    },
)
router: Final = SCREEN.router()
Reader = Annotated[User, Depends(SCREEN.users)]
Operator = Annotated[User, Depends(needs(Role.OPERATOR))]
Text = Annotated[str, Query(max_length=200)]
Place = Annotated[str, Query(max_length=19)]

OPERATION_NAMES: Final[Mapping[str, str]] = {
    "SendHaendelseSygefravaerssag": danish("Hændelse på sag"),
    "SendForretningsSvar": danish("Svar på hændelse"),
    "SendAnmodningForlaengelse": danish("Anmodning om forlængelse"),
    "SendForretningsSvarForlaengelse": danish("Svar på forlængelse"),
    "SendOpdateringFravaer": danish("Oplysning fra jobcenter"),
}
STATE_NAMES: Final[Mapping[str, str]] = {
    "queued": danish("I kø"),
    "sending": danish("Sendes"),
    "delivered": danish("Leveret"),
    "refused": danish("Afvist"),
    "parked": danish("Parkeret"),
    "discarded": danish("Opgivet"),
}
STATE_BADGES: Final[Mapping[str, str]] = {
    "queued": "badge-info",
    "sending": "badge-info",
    "delivered": "badge-success",
    "refused": "badge-error",
    "parked": "badge-warning",
    "discarded": "badge-plain",
}
AGE_NAMES: Final[Mapping[str, str]] = {
    "1h": danish("Den seneste time"),
    "1d": danish("Det seneste døgn"),
    "7d": danish("De seneste 7 dage"),
    "30d": danish("De seneste 30 dage"),
    "1d-": danish("Ældre end et døgn"),
    "5d-": danish("Ældre end 5 dage"),
    "30d-": danish("Ældre end 30 dage"),
}
DIRECTIONS: Final[Mapping[str, str]] = {"ksd": danish("Til KSD"), "jobcenter": danish("Til jobcentre")}
_CAUSES: Final[Mapping[str, str]] = {
    "no route": danish("Ingen rute til kommunen"),
    "Client": danish("Modtageren kunne ikke læse beskeden"),
    "the route leads to another system": danish("Ruten fører til et andet system nu"),
    "the message names another system": danish("Beskeden nævner et andet system som modtager"),
    "the system takes no substitute numbers": danish("Systemet tager ikke erstatningsnumre"),
    "the body cannot be opened": danish("Beskedens indhold kan ikke åbnes"),
    "another system may have it already": danish("Et andet system kan allerede have den"),
    "Unreachable": danish("Modtageren kan ikke nås"),
    "NoAnswer": danish("Modtageren svarede ikke"),
    "HTTP": danish("Modtageren svarede med en HTTP-fejl"),
    "NotAnEnvelope": danish("Modtagerens svar er ikke en kuvert"),
}
_GIVEN_UP: Final = "given up "
_FINDINGS: Final[Mapping[str, str]] = {
    "changed route": danish("Ruten er ændret: beskeden går til et andet system, end den blev modtaget til."),
    "duplicate": danish("Mulig gentagelse: modtageren kan have beskeden. Den kender den på BeskedID."),
    "closed case": danish("Sagen er afsluttet: en senere besked siger, at den er slut."),
}
NAMES: Final = ("operation", "retning", "tilstand", "kommune", "system", "modtager", "alder", "aarsag", "borger")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the page is asked for, as it stands in its address; a value that is none is as good as not given."""

    operation: str = ""
    retning: str = ""
    tilstand: str = ""
    kommune: str = ""
    system: str = ""
    modtager: str = ""
    alder: str = ""
    aarsag: str = ""
    borger: str = ""

    @property
    def given(self) -> dict[str, str]:
        """Give what is narrowed by."""
        return {name: value for name in NAMES if (value := getattr(self, name))}

    def address(self, path: str = SCREEN.path, **more: object) -> str:
        """Give the address of a page that is narrowed by the same, and by more."""
        query = self.given | {name: str(value) for name, value in more.items() if value}
        return path + (f"?{urlencode(query)}" if query else "")


def _asked(  # noqa: PLR0917  as the query is
    operation: Text = "",
    retning: Text = "",
    tilstand: Text = "",
    kommune: Text = "",
    system: Text = "",
    modtager: Text = "",
    alder: Text = "",
    aarsag: Text = "",
    borger: Text = "",
) -> Asked:
    return Asked(
        operation=operation if operation in OPERATION_NAMES else "",
        retning=retning if retning in DIRECTIONS else "",
        tilstand=tilstand if tilstand in STATE_NAMES else "",
        kommune=kommune if kommune in MUNICIPALITIES else "",
        system=_uuid(system),
        modtager=_uuid(modtager),
        alder=alder if alder in AGE_NAMES else "",
        aarsag=aarsag,
        borger=_uuid(borger),
    )


Narrowed = Annotated[Asked, Depends(_asked)]


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and 0 < int(text) < 2**62 else None


async def filter_of(office: Office, user: User, asked: Asked) -> Filter:
    """Make the filter that an address asks for; `NotYours`, and `NotThere` when a look at a citizen has ended."""
    if asked.kommune and not user.everywhere and Role.MUNICIPALITY in user.roles:
        must_own(user, asked.kommune)
    operations = tuple(name for name in OPERATION_NAMES if asked.operation in {"", name})
    if asked.retning:
        operations = tuple(name for name in operations if OPERATIONS[name].to_ksd is (asked.retning == "ksd"))
    since, until = looking.of_age(asked.alder, office.clock.now())
    return Filter(
        operations=() if len(operations) == len(OPERATION_NAMES) else operations or ("",),
        statuses=(Status(asked.tilstand),) if asked.tilstand else (),
        municipality=asked.kommune or None,
        system=UUID(asked.system) if asked.system else None,
        recipient=UUID(asked.modtager) if asked.modtager else None,
        since=since,
        until=until,
        cause=asked.aarsag or None,
        persons=await looking.persons_of(office, user, UUID(asked.borger)) if asked.borger else (),
    )


def told_cause(view: View, cause: str) -> str:
    """Say in words what went wrong; what the house has no words for stands as it is."""
    given_up = cause.startswith(_GIVEN_UP)
    code = cause.removeprefix(_GIVEN_UP)
    word = code.split(" ")[0] if code.split(" ")[0] in _CAUSES else code
    if word in _CAUSES:
        text = view.say(_CAUSES[word])
    else:
        try:
            text = fejl_text(code)
        except (KeyError, ValueError, SygefravaerError):
            text = ""
    if given_up:
        return view.say(danish("Opgivet efter fem dage")) + (f": {text or code}" if code else "")
    return text


def told_finding(view: View, finding: str) -> str:
    """Say in words what speaks against a replay."""
    kind = finding.partition(":")[0]
    return view.say(_FINDINGS[kind]) if kind in _FINDINGS else finding


def words(view: View) -> dict[str, Any]:
    """Give a page the words for messages."""
    return {
        "operations": OPERATION_NAMES,
        "states": STATE_NAMES,
        "badges": STATE_BADGES,
        "cause_of": lambda cause: told_cause(view, cause),
        "finding_of": lambda finding: told_finding(view, finding),
    }


@router.get(SCREEN.path)
async def page(  # noqa: PLR0917  as the query is
    user: Reader,
    view: Seen,
    office: In,
    asked: Narrowed,
    foer: Place = "",
    efter: Place = "",
    side: Place = "",
    vis: Text = "",
) -> Response:
    """Show messages; asked for by the page itself, only the list."""
    wanted = await filter_of(office, user, asked)
    found: dict[str, Any] = {"asked": asked, "vis": vis, "side": _number(side), **words(view)}
    if vis == "aarsager":
        found["faults"] = await looking.faults(office, user, wanted)
    else:
        listed = await looking.page(
            office, user, wanted, before=_number(foer), after=_number(efter), number=_number(side)
        )
        found |= {"listed": listed, "most": browsing.COUNTED}
        found["first_page"] = not listed.leaf.newer
    if view.by_htmx:
        return view.page("messages/list.html", **found)
    return view.page("messages/page.html", **found, **await _choices(office, user))


async def _choices(office: Office, user: User) -> dict[str, Any]:
    return {
        "systems": sorted(((str(one.system_id), one.name) for one in await looking.systems(office, user)), key=_second),
        "towns": sorted(((cvr, town.navn) for cvr, town in MUNICIPALITIES.items()), key=_second),
        "narrow_town": user.everywhere or Role.MUNICIPALITY not in user.roles,
        "ages": AGE_NAMES,
        "directions": DIRECTIONS,
        "views": await looking.views(office, user),
        "reads": bool(user.roles & looking.READERS),
    }


def _second(pair: tuple[str, str]) -> str:
    return pair[1]


@router.get(SCREEN.path + "/csv")
async def export(user: Reader, office: In, asked: Narrowed) -> Response:
    """Give what is listed as a file."""
    lines = await looking.export(office, user, await filter_of(office, user, asked))
    named = {"Content-Disposition": 'attachment; filename="beskeder.csv"'}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=named)


@router.post(SCREEN.path + "/borger")
async def citizen(
    user: Reader,
    view: Seen,
    office: In,
    nummer: Annotated[str, Form(max_length=20)] = "",
    formaal: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Look for a citizen's messages, having said why; the number is in no address and is not kept."""
    try:
        look = await looking.look_for(office, user, nummer, formaal)
    except UsageError as error:
        problem = problem_of(error)
        found = {"asked": Asked(), "vis": "", "side": None, "problem": problem, "formaal": formaal, **words(view)}
        return view.page("messages/page.html", status=problem["status"], **found, **await _choices(office, user))
    return view.go(SCREEN.path, borger=str(look))


@router.post(SCREEN.path + "/visninger")
async def keep(
    user: Reader,
    view: Seen,
    office: In,
    navn: Annotated[str, Form(max_length=80)] = "",
    adresse: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Keep a view by a name: what it narrows by, but for a citizen."""
    query = {name: value for name, value in parse_qsl(adresse) if name in {*NAMES, "vis"} and name != "borger"}
    await looking.keep_view(office, user, navn, urlencode(query))
    return view.go(SCREEN.path, done="kept", **query)


@router.post(SCREEN.path + "/visninger/{view_id}/slet")
async def drop(view_id: UUID, user: Reader, view: Seen, office: In) -> Response:
    """Forget a view."""
    await looking.drop_view(office, user, view_id)
    return view.go(SCREEN.path, done="dropped")


# --- many at once: planned by one, confirmed by another ---


def _selection(asked: Asked) -> Selection:
    return Selection(
        cause=asked.aarsag or None,
        recipient=UUID(asked.modtager) if asked.modtager else None,
        municipality=asked.kommune or None,
    )


def _agreed(planned: Plan, shown: str, reason: str) -> str:
    """Give the reason for what was shown; raises `PlanChanged` when it would be something else now, `UsageError`."""
    if planned.digest != shown:
        raise PlanChanged
    return check_words(reason, "The reason")


@router.get(SCREEN.path + "/afspil")
async def plan(_user: Operator, view: Seen, office: In, asked: Narrowed) -> Response:
    """Show what a replay of a group would do."""
    planned = await looking.parked(office).plan(_selection(asked), now=office.clock.now())
    return view.page("messages/replay.html", asked=asked, plan=planned, problem=None, reason="", **words(view))


@router.post(SCREEN.path + "/afspil")
async def propose(
    *,
    user: Operator,
    view: Seen,
    office: In,
    asked: Narrowed,
    plan: Annotated[str, Form(max_length=64)] = "",
    begrundelse: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Propose the replay that was shown, for another person to confirm."""
    planned = await looking.parked(office).plan(_selection(asked), now=office.clock.now())
    try:
        reason = _agreed(planned, plan, begrundelse)
    except (UsageError, PlanChanged) as error:
        problem = problem_of(error)
        found = {"asked": asked, "plan": planned, "problem": problem, "reason": begrundelse, **words(view)}
        return view.page("messages/replay.html", status=problem["status"], **found)
    wish = Wish(kind=Kind.REPLAY, asked=planned.selection.plain(), plan=planned.digest, reason=reason)
    async with office.store.tx() as tx:
        await four_eyes.propose(tx, wish, user=user, now=office.clock.now())
    return view.go(SCREEN.path, done="proposed", vis="aarsager", tilstand="parked")
