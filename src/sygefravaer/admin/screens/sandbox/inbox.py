# SPDX-License-Identifier: MPL-2.0
"""A jobcentre's inbox, as its caseworker sees it: answer an event; grant or refuse an extension."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from fastapi import Response

from sygefravaer.admin.screens.frame import Seen
from sygefravaer.admin.screens.sandbox.doors import SCREEN, At, Drawn, Sent, codes
from sygefravaer.admin.screens.texts import danish
from sygefravaer.contract.codes import FEJLKODER
from sygefravaer.errors import ActRefused, NotThere

PATH: Final = f"{SCREEN.path}/jobcenter"
MODES: Final = {
    "diligent": danish("Svarer af sig selv og til tiden"),
    "slow": danish("Svarer af sig selv, men sent"),
    "silent": danish("Svarer aldrig"),
    "wrong": danish("Svarer af sig selv, og forkert"),
    "manual": danish("Venter på en sagsbehandler"),
}
ANSWERS: Final[Mapping[str, str]] = {"yes": "ACCEPTERET", "no": "AFVIST"}
"""What is said to KSD for each of the two buttons."""
router: Final = SCREEN.router()


@router.get(f"{PATH}/{{part}}")
async def page(part: str, drawn: Drawn, doors: At) -> Response:
    """Show what waits for a person."""
    return await _shown(part, drawn, doors)


@router.get(f"{PATH}/{{part}}/antal")
async def news(part: str, view: Seen, doors: At) -> Response:
    """Say how much waits: a part of the page."""
    return view.page("sandbox/waiting.html", **await _waiting(part, doors))


@router.post(f"{PATH}/{{part}}/forlaengelse/{{anmodning_id}}")
async def answer(part: str, anmodning_id: UUID, *, drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Grant an extension, or refuse it."""
    said = sent.one_of("answer", ANSWERS)
    fields = {"anmodning_id": str(anmodning_id), "code": ANSWERS[said], "Begrundelse": sent.text("Begrundelse")}
    if said == "yes":
        fields |= {name: sent.text(name) for name in ("Forlaengelseskode", "ForlaengelseTil")}
    else:
        fields |= {"Afvisningsaarsag": sent.text("Afvisningsaarsag")}
    return await _done("answer_extension", fields, part=part, drawn=drawn, view=view, doors=doors)


@router.post(f"{PATH}/{{part}}/haendelse/{{besked_id}}")
async def acknowledge(part: str, besked_id: UUID, *, drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Answer an event."""
    said = sent.one_of("answer", ANSWERS)
    fields = {
        "besked_id": str(besked_id),
        "code": ANSWERS[said],
        "fejl": sent.text("fejl") if said == "no" else None,
        "begrundelse": sent.text("Begrundelse"),
    }
    return await _done("answer_event", fields, part=part, drawn=drawn, view=view, doors=doors)


@router.post(f"{PATH}/{{part}}/svarer")
async def behave(part: str, drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Let the jobcentre answer by itself, or wait for a person."""
    fields = {name: sent.text(name) for name in ("events", "extensions", "follow_up")}
    return await _done("policy", fields, part=part, drawn=drawn, view=view, doors=doors, done="behaves")


async def _done(
    act: str, fields: dict[str, Any], *, part: str, drawn: Drawn, view: Seen, doors: At, done: str = "answered"
) -> Response:
    await _title(part, doors)
    try:
        await doors.ask(part, act, **fields)
    except ActRefused as error:
        return await _shown(part, drawn, doors, refused=error)
    return view.go(f"{PATH}/{part}", done=done)


async def _title(part: str, doors: At) -> str:
    """Give the name of a jobcentre; raises `NotThere` for a part that is none."""
    for one in await doors.parts():
        if one["name"] == part and one["kind"] == "jobcenter":
            return str(one["title"])
    raise NotThere


async def _waiting(part: str, doors: At) -> dict[str, Any]:
    title, inbox = await asyncio.gather(_title(part, doors), doors.find(part, "inbox"))
    return {"part": part, "title": title, "away": not inbox, "inbox": inbox or {"events": [], "extensions": []}}


async def _shown(part: str, drawn: Drawn, doors: At, *, refused: ActRefused | None = None) -> Response:
    waiting, policy, names = await asyncio.gather(_waiting(part, doors), doors.find(part, "policy"), doors.names())
    return await drawn.show(
        "inbox.html",
        refused=refused,
        policy=policy,
        names=names,
        modes=MODES,
        grounds=dict(codes("forlaengelseskoder")),
        refusals=codes("afvisningsaarsager"),
        answers=dict(codes("forretningsvalideringskoder")),
        kinds=dict(codes("anmodningstyper")),
        errors=[(code.kode, code.tekst) for code in FEJLKODER.values()],
        **waiting,
    )
