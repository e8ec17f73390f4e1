# SPDX-License-Identifier: MPL-2.0
"""The front page of a sandbox: the clock that is moved for all, and the parts with kill, pause and start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from fastapi import Response

from sygefravaer.admin.screens.frame import DENMARK, Seen
from sygefravaer.admin.screens.sandbox.doors import SCREEN, SUPERVISOR, At, Drawn, Sent
from sygefravaer.admin.screens.texts import danish
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.errors import ActRefused

CLOCK: Final = f"{SCREEN.path}/ur"
STEPS: Final[Mapping[str, timedelta]] = {
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
    "22w": timedelta(weeks=22),
}
ADMIN: Final = "admin"
STARTING: Final = 90.0  # seconds that a part may take to be there
ACTS: Final = frozenset({"kill", "pause", "start"})
STATES: Final[Mapping[str, str]] = {
    "running": danish("Kører"),
    "paused": danish("Sat på pause"),
    "down": danish("Stoppet"),
    "ended": danish("Død"),
}
HEALTH: Final[Mapping[str, str]] = {
    "ok": danish("Svarer"),
    "silent": danish("Svarer ikke"),
    "down": danish("Er ikke i gang"),
}
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
router: Final = SCREEN.router()


def events() -> list[tuple[str, str]]:
    """Give what the clock can be moved to: a message that is accepted, or a state that a case comes into."""
    messages = [(code.kode, code.tekst) for code in LISTS["beskedtyper"] if not OPERATIONS[code.kode].lookup]
    states = [(f"SagsTilstand={code.kode}", code.tekst) for code in LISTS["sagstilstande"]]
    return [*messages, *states]


@router.get(SCREEN.path)
async def page(drawn: Drawn) -> Response:
    """Show the clock and the parts."""
    return await _shown(drawn)


@router.get(CLOCK)
async def clock(view: Seen, doors: At) -> Response:
    """Show how far the clock is: a part of every page."""
    return view.page("sandbox/clock.html", clock=await doors.clock())


@router.post(CLOCK)
async def move(drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Begin to move all clocks: by a step, to a day, or until something happens."""
    try:
        await doors.ask(SUPERVISOR, "clock", wait=0, **_goal(sent.text("by"), sent.text("to"), sent.text("until")))
    except ActRefused as error:
        return await _shown(drawn, refused=error)
    return view.go(SCREEN.path, done="moved")


@router.get(f"{SCREEN.path}/dele")
async def parts(view: Seen, doors: At) -> Response:
    """Show the parts: a part of the page."""
    return view.page("sandbox/parts.html", parts=await doors.parts(), states=STATES, health=HEALTH)


@router.post(f"{SCREEN.path}/dele/{{part}}")
async def steer(part: str, drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Kill, pause or start a part."""
    try:
        act = sent.one_of("act", {"start"} if part == ADMIN else ACTS)  # it would end this page with itself
        await doors.ask(SUPERVISOR, act, seconds=STARTING, part=part)
    except ActRefused as error:
        return await _shown(drawn, refused=error)
    return view.go(SCREEN.path, done="part")


async def _shown(drawn: Drawn, *, refused: ActRefused | None = None) -> Response:
    return await drawn.show("page.html", refused=refused, events=events(), states=STATES, health=HEALTH)


def _goal(by: str | None, to: str | None, until: str | None) -> dict[str, Any]:
    if by is not None and by in STEPS:
        return {"advance": STEPS[by].total_seconds()}
    if until is not None:
        return {"until": until}
    try:
        if to is not None and _DAY.fullmatch(to):
            return {"now": datetime.combine(date.fromisoformat(to), time(), DENMARK).astimezone(UTC).isoformat()}
    except (ValueError, OverflowError):
        pass
    raise ActRefused("FieldWrong", "A step, a day (YYYY-MM-DD) or an event was wanted.")
