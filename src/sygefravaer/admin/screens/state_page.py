# SPDX-License-Identifier: MPL-2.0
"""
The state of each part, as a page and as JSON.

The parts are asked by their control doors; the paths come from the configuration, and without them there is nothing
to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from sygefravaer import __version__
from sygefravaer.admin.screens.frame import Screen, Seen, frame_of
from sygefravaer.admin.screens.texts import danish
from sygefravaer.control import knock
from sygefravaer.errors import SygefravaerError

KNOCK_SECONDS: Final = 2.0
NO_COUNTS: Final = frozenset({"pid", "port"})
LABELS: Final[Mapping[str, str]] = {
    "queued": danish("i kø"),
    "sending": danish("på vej"),
    "parked": danish("parkeret"),
    "unheard": danish("uhørte afslag"),
    "under_way": danish("under levering"),
    "lookups": danish("opslag"),
    "answers": danish("svar"),
    "messages": danish("beskeder"),
    "tasks": danish("opgaver"),
    "cases": danish("sager"),
    "received": danish("modtaget"),
    "sent": danish("sendt"),
    "receipts": danish("kvitteringer"),
    "open_cases": danish("åbne sager"),
    "open_extensions": danish("åbne anmodninger"),
    "open_tasks": danish("åbne opgaver"),
    "held_reports": danish("anmeldelser, der venter på lønmodtageren"),
    "updates": danish("oplysninger fra jobcentre"),
    "deeds": danish("opfølgninger"),
}
SCREEN: Final = Screen(name="state", path="/drift", label=danish("Driftsstatus"), roles=None)
router: Final = SCREEN.router()


@dataclass(frozen=True, kw_only=True)
class PartState:
    """What one part says of itself; `health` is `ok` or `silent`."""

    part: str
    health: str
    version: str | None = None
    now: str | None = None
    counts: Mapping[str, str] | None = None


@router.get(SCREEN.path)
async def page(request: Request, view: Seen) -> Response:
    """Show each part."""
    return view.page("state/page.html", states=await _states(request), labels=LABELS)


@router.get("/status.json")
async def as_json(request: Request) -> JSONResponse:
    """Tell the same as JSON."""
    states = await _states(request)
    now = frame_of(request).clock.now()
    return JSONResponse({"now": now.isoformat(), "version": __version__, "parts": [asdict(state) for state in states]})


def _nested(told: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = told.get(key)
    return value if isinstance(value, dict) else {}


async def _states(request: Request) -> list[PartState]:
    parts = cast("Mapping[str, Path]", cast("Any", request.app.state).parts)
    return list(await asyncio.gather(*(_state(name, path) for name, path in parts.items())))


async def _state(name: str, path: Path) -> PartState:
    try:
        told = await knock(path, "health", timeout=KNOCK_SECONDS)
    except SygefravaerError:
        return PartState(part=name, health="silent")
    counts = {
        key: str(value)
        for key, value in {**told, **_nested(told, "counters"), **_nested(told, "lanes")}.items()
        if isinstance(value, int) and not isinstance(value, bool) and key not in NO_COUNTS
    }
    return PartState(
        part=name,
        health="ok",
        version=str(told.get("version", "")) or None,
        now=str(told.get("now", "")) or None,
        counts=counts,
    )
