# SPDX-License-Identifier: MPL-2.0
"""The citizens of a sandbox: who there is, and how their cases stand."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import Query, Response

from sygefravaer.admin.screens.sandbox.doors import KSD, SCREEN, SUPERVISOR, At, Drawn, codes

PATH: Final = f"{SCREEN.path}/borgere"
PAGE: Final = 25
router: Final = SCREEN.router()


@router.get(PATH)
async def page(drawn: Drawn, doors: At, after: Annotated[int, Query(ge=0, le=10_000_000)] = 0) -> Response:
    """List them, a page at a time."""
    told = await doors.find(SUPERVISOR, "citizens", after=after, limit=PAGE + 1)
    found = list(told.get("citizens", ()))
    cases = await asyncio.gather(*(_state(doors, one["sags_id"]) for one in found[:PAGE]))
    return await drawn.show(
        "people.html",
        citizens=[{**one, "state": case} for one, case in zip(found[:PAGE], cases, strict=True)],
        count=told.get("count", 0),
        before=max(0, after - PAGE) if after else None,
        following=after + PAGE if len(found) > PAGE else None,
        states=dict(codes("sagstilstande")),
    )


async def _state(doors: At, sags_id: str) -> Any:
    return (await doors.find(KSD, "case", sags_id=sags_id)).get("state")
