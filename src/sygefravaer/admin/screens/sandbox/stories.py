# SPDX-License-Identifier: MPL-2.0
"""Scenarios: chosen from the list, played by the supervisor in this sandbox, their timeline shown line by line."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import Response

from sygefravaer.admin.screens.frame import Seen
from sygefravaer.admin.screens.sandbox.doors import SCREEN, SUPERVISOR, At, Drawn, Sent
from sygefravaer.errors import ActRefused

PATH: Final = f"{SCREEN.path}/scenarier"
router: Final = SCREEN.router()


@router.get(PATH)
async def page(drawn: Drawn, doors: At) -> Response:
    """List the scenarios, and show the play that goes on or was the last."""
    return await _shown(drawn, doors)


@router.get(f"{PATH}/tidslinje")
async def timeline(view: Seen, doors: At) -> Response:
    """Show the timeline: a part of the page."""
    return view.page("sandbox/timeline.html", play=await doors.find(SUPERVISOR, "scenario"))


@router.post(PATH)
async def play(drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Begin to play a scenario, or break the play off."""
    try:
        if sent.text("stop"):
            await doors.ask(SUPERVISOR, "scenario", stop=True)
            return view.go(PATH, done="stopped")
        known = {one["name"] for one in await _known(doors)}
        name = sent.one_of("name", known)  # the door takes the path of a file as well
        await doors.ask(SUPERVISOR, "scenario", name=name)
    except ActRefused as error:
        return await _shown(drawn, doors, refused=error)
    return view.go(PATH, done="plays")


async def _known(doors: At) -> list[dict[str, Any]]:
    return list((await doors.find(SUPERVISOR, "scenarios")).get("scenarios", ()))


async def _shown(drawn: Drawn, doors: At, *, refused: ActRefused | None = None) -> Response:
    known, told = await asyncio.gather(_known(doors), doors.find(SUPERVISOR, "scenario"))
    return await drawn.show("stories.html", refused=refused, known=known, play=told)
