# SPDX-License-Identifier: MPL-2.0
"""
Sag: a case side by side, KSD, gateway, jobcentre and clock; and what each side knew on a day.

It is built of the messages that went through the gateway. Where there are control doors (a sandbox) KSD and the
jobcentres are asked, too, for what they hold now and what is to come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from sygefravaer.admin import looking
from sygefravaer.admin.access import User
from sygefravaer.admin.office import In
from sygefravaer.admin.problems import problem_of
from sygefravaer.admin.screens.frame import Screen, Seen
from sygefravaer.admin.screens.messages import words
from sygefravaer.admin.screens.texts import danish
from sygefravaer.contract.codes import LISTS
from sygefravaer.control import knock
from sygefravaer.delivery.cases import Case, Mark, Side
from sygefravaer.errors import SygefravaerError, UsageError
from sygefravaer.law import danish_date, end_of_day

KNOCK_SECONDS: Final = 2.0
SCREEN: Final = Screen(name="case", path="/sag", label=danish("Sag"), roles=looking.READERS)
router: Final = SCREEN.router()
Reader = Annotated[User, Depends(SCREEN.users)]

LANES: Final[Mapping[Side, str]] = {
    Side.KSD: danish("KSD"),
    Side.GATEWAY: danish("Gateway"),
    Side.JOBCENTER: danish("Jobcenter"),
    Side.CLOCK: danish("Ur"),
}
WHAT: Final[Mapping[str, str]] = {
    "sent": danish("Sender"),
    "accepted": danish("Modtager og gemmer"),
    "received": danish("Har beskeden"),
    "refused": danish("Modtageren afviste"),
    "queued": danish("Forsøg mislykkedes"),
    "parked": danish("Parkeret"),
    "unknown": danish("Ukendt udfald"),
    "again": danish("Næste forsøg"),
    "due": danish("Frist for svar"),
    "settled": danish("Svaret er kommet"),
}
FACTS: Final[Mapping[str, str]] = {
    "Haendelsestype": danish("Hændelse"),
    "SagsVersion": danish("Sagens version"),
    "SagsTilstand": danish("Sagens tilstand"),
    "Sagsart": danish("Sagsart"),
    "FoersteFravaersdag": danish("Første fraværsdag"),
    "RevurderingsDato": danish("Revurderingsdato"),
    "AfslutningsDato": danish("Afslutningsdato"),
    "ForretningsValideringsKode": danish("Jobcentrets svar"),
    "BesvaretSagsVersion": danish("Besvaret version"),
    "Anmodningstype": danish("Anmodning"),
    "Rykkernummer": danish("Rykker"),
    "Svarfrist": danish("Svarfrist"),
    "ForlaengelsesSvar": danish("Svar på forlængelse"),
    "Forlaengelseskode": danish("Forlængelse"),
    "ForlaengelseTil": danish("Forlænget til"),
    "JobcentersagStatus": danish("Jobcentersagens status"),
    "Opdateringstype": danish("Seneste oplysning"),
    "GyldigFra": danish("Gyldig fra"),
}
CODES: Final[Mapping[str, str]] = {
    "Haendelsestype": "haendelsestyper",
    "SagsTilstand": "sagstilstande",
    "Sagsart": "sagsarter",
    "ForretningsValideringsKode": "forretningsvalideringskoder",
    "ForlaengelsesSvar": "forretningsvalideringskoder",
    "Anmodningstype": "anmodningstyper",
    "Forlaengelseskode": "forlaengelseskoder",
    "JobcentersagStatus": "jobcentersagstatusser",
    "Opdateringstype": "opdateringstyper",
}
"""The list of codes that says what a fact means."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One row of the lanes: what happened to one message at one instant, by whose lane."""

    at: datetime
    message_id: int
    operation: str
    cells: Mapping[str, tuple[Mark, ...]]
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a part of a sandbox says of the case by its own door."""

    part: str
    facts: Mapping[str, str]
    coming: tuple[tuple[str, str], ...]


def moments(marks: Sequence[Mark]) -> list[Moment]:
    """Put marks of the same message at the same instant beside each other."""
    made = []
    for (at, message_id), together in groupby(marks, key=lambda mark: (mark.at, mark.message_id)):
        found = list(together)
        cells = {side.value: tuple(mark for mark in found if mark.side is side) for side in Side}
        facts = found[0].facts if any(mark.what == "sent" for mark in found) else {}
        made.append(Moment(at=at, message_id=message_id, operation=found[0].operation, cells=cells, facts=facts))
    return made


@router.get(SCREEN.path)
async def ask(_user: Reader, view: Seen, sag: Annotated[str, Query(max_length=64)] = "") -> Response:
    """Ask for a case by its NemrefusionsID."""
    if not sag.strip():
        return view.page("case/ask.html", problem=None, sag="")
    try:
        found = UUID(sag.strip())
    except ValueError:
        error = UsageError(
            "CaseMalformed", "What was given is no NemrefusionsID: 32 hexadecimal digits in five groups."
        )
        problem = problem_of(error)
        return view.page("case/ask.html", status=problem["status"], problem=problem, sag="")
    return view.go(f"{SCREEN.path}/{found}")


@router.get(SCREEN.path + "/{case}")
async def page(
    *,
    request: Request,
    case: UUID,
    user: Reader,
    view: Seen,
    office: In,
    dato: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """Show a case, and what each side knew at the end of a day."""
    found = await looking.case(office, user, case)
    now = office.clock.now()
    day = _day(dato) or danish_date(now)
    at = min(end_of_day(day), now) if day <= danish_date(now) else end_of_day(day)
    parts = cast("Mapping[str, Path]", cast("Any", request.app.state).parts)
    return view.page(
        "case/page.html",
        case=found,
        moments=moments(found.marks()),
        lanes=LANES,
        what=WHAT,
        facts=FACTS,
        meanings={name: {code.kode: code.tekst for code in LISTS[which]} for name, which in CODES.items()},
        day=day,
        known=[found.known(side, at) for side in (Side.KSD, Side.GATEWAY, Side.JOBCENTER)],
        told=await _told(parts, found) if user.everywhere else [],
        **words(view),
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


async def _told(parts: Mapping[str, Path], case: Case) -> list[Told]:
    """Ask the parts of a sandbox; who does not know the case, or is silent, is left out."""
    made: list[Told] = []
    sags_id = None
    if "ksd" in parts:
        try:
            told = await knock(
                parts["ksd"], "case", {"nemrefusions_id": str(case.nemrefusions_id)}, timeout=KNOCK_SECONDS
            )
        except SygefravaerError:
            return made
        sags_id = str(told["sags_id"])
        facts = {"SagsTilstand": str(told["state"]), "SagsVersion": str(told["version"])}
        coming = tuple((str(one["at"]), str(one["act"])) for one in cast("Any", told["coming"]))
        made.append(Told(part="ksd", facts=facts, coming=coming))
    for part, path in parts.items():
        if part in {"ksd", "gateway", "admin", "supervisor"} or sags_id is None:
            continue
        try:
            told = await knock(path, "case", {"sags_id": sags_id}, timeout=KNOCK_SECONDS)
        except SygefravaerError:
            continue
        duties = tuple((str(one["due"]), str(one["name"])) for one in cast("Any", told["duties"]))
        made.append(Told(part=part, facts={"JobcentersagStatus": str(told["status"])}, coming=duties))
    return made
