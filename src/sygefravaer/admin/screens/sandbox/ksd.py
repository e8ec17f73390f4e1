# SPDX-License-Identifier: MPL-2.0
"""KSD's cases, as its caseworker sees them: a person creates, changes and ends one; messages leave by themselves."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID

from fastapi import Response

from sygefravaer.admin.screens.frame import Seen
from sygefravaer.admin.screens.sandbox.doors import KSD, SCREEN, SUPERVISOR, At, Drawn, Form, Sent, codes
from sygefravaer.admin.screens.texts import danish
from sygefravaer.errors import ActRefused

PATH: Final = f"{SCREEN.path}/ksd"
PAGE: Final = 25
PEOPLE: Final = 200  # citizens to choose from
ACTS: Final = {
    "change": ("change_case", "changed"),
    "end": ("end_case", "ended"),
    "reopen": ("reopen_case", "reopened"),
    "ask": ("ask_extension", "asked"),
}
"""The act of KSD's door for each button, and the word for what was done."""
FATES: Final = {
    "open": danish("intet svar endnu"),
    "answered": danish("afvist af jobcentret; KSD afgør sagen"),
    "decided": danish("besvaret og afgjort"),
    "withdrawn": danish("trukket tilbage"),
}
"""What became of a request for extension."""
router: Final = SCREEN.router()


@router.get(PATH)
async def page(drawn: Drawn, doors: At, state: str = "", municipality: str = "", after: str = "") -> Response:
    """List the cases, and offer to create one."""
    return await _listed(drawn, doors, state=state, municipality=municipality, after=after)


@router.post(PATH)
async def create(drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Create a case of one of the citizens."""
    try:
        told = await doors.ask(KSD, "create_case", **await _report(doors, sent))
    except ActRefused as error:
        return await _listed(drawn, doors, refused=error, sent=sent)
    return view.go(PATH, done="held") if told.get("held") else view.go(f"{PATH}/{told['sags_id']}", done="created")


@router.get(f"{PATH}/{{sags_id}}")
async def case(sags_id: UUID, drawn: Drawn, doors: At) -> Response:
    """Show one case, with what can be done to it."""
    return await _case(sags_id, drawn, doors)


@router.get(f"{PATH}/{{sags_id}}/stand")
async def standing(sags_id: UUID, view: Seen, doors: At) -> Response:
    """Show how a case stands: a part of its page."""
    return view.page("sandbox/standing.html", **await _standing(sags_id, doors))


@router.post(f"{PATH}/{{sags_id}}")
async def change(sags_id: UUID, drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Change a case, end it, take it up again, or ask the jobcentre for an extension."""
    try:
        name = sent.one_of("act", ACTS)
        act, done = ACTS[name]
        await doors.ask(KSD, act, sags_id=str(sags_id), **_fields(name, sent))
    except ActRefused as error:
        return await _case(sags_id, drawn, doors, refused=error, sent=sent)
    return view.go(f"{PATH}/{sags_id}", done=done)


async def _report(doors: At, sent: Form) -> dict[str, Any]:
    """Make a report of absence from a form; the citizen is named by a case of his, so that no number is on the page."""
    told = await doors.ask(SUPERVISOR, "citizens", sags_id=sent.text("citizen") or str(UUID(int=0)), numbers=True)
    if not told["citizens"]:
        raise ActRefused("FieldMissing", "A citizen was wanted.")
    who = told["citizens"][0]
    return {
        "cpr": who["cpr"],
        "municipality_cvr": who["municipality_cvr"],
        "FoersteFravaersdag": sent.text("FoersteFravaersdag"),
        "SidsteFravaersdag": sent.text("SidsteFravaersdag"),
        "Sagsart": sent.text("Sagsart"),
    }


def _fields(name: str, sent: Form) -> dict[str, Any]:
    if name == "end":
        return {"cause": sent.text("cause"), "on": sent.text("on")}
    if name == "change":
        names = ("OplysningsskemaModtaget", "RevurderingsDato", "Sagsart", "move")
        return {one: sent.text(one) for one in names}
    return {}


async def _listed(
    drawn: Drawn,
    doors: At,
    *,
    state: str = "",
    municipality: str = "",
    after: str = "",
    refused: ActRefused | None = None,
    sent: Form | None = None,
) -> Response:
    wanted = {"state": state or None, "municipality_cvr": municipality or None, "after": after or None}
    found, people, names = await asyncio.gather(
        doors.find(KSD, "cases", limit=PAGE + 1, **wanted),
        doors.find(SUPERVISOR, "citizens", limit=PEOPLE),
        doors.names(),
    )
    rows = list(found.get("cases", ()))
    return await drawn.show(
        "ksd.html",
        refused=refused,
        away="cases" not in found,
        cases=[{**row, "name": names.get(row["sags_id"])} for row in rows[:PAGE]],
        following=rows[PAGE - 1]["sags_id"] if len(rows) > PAGE else None,
        citizens=people.get("citizens", ()),
        states=codes("sagstilstande"),
        kinds=codes("sagsarter"),
        asked={"state": state, "municipality": municipality, "after": after},
        form={} if sent is None else sent.fields,
    )


async def _case(
    sags_id: UUID, drawn: Drawn, doors: At, *, refused: ActRefused | None = None, sent: Form | None = None
) -> Response:
    return await drawn.show(
        "case.html",
        refused=refused,
        causes=codes("afslutningsaarsager"),
        kinds=codes("sagsarter"),
        form={} if sent is None else sent.fields,
        **await _standing(sags_id, doors),
    )


async def _standing(sags_id: UUID, doors: At) -> dict[str, Any]:
    case, messages, names = await asyncio.gather(
        doors.find(KSD, "case", sags_id=str(sags_id)),
        doors.find(KSD, "messages", sags_id=str(sags_id), limit=20),
        doors.names(),
    )
    return {
        "sags_id": str(sags_id),
        "case": case,
        "messages": messages.get("messages", ()),
        "name": names.get(str(sags_id)),
        "asked": {one["anmodning_id"]: one["status"] for one in case.get("requests", ())},
        "fates": FATES,
        "texts": {
            name: dict(codes(name)) for name in ("sagstilstande", "haendelsestyper", "forretningsvalideringskoder")
        },
    }
