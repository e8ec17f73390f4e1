# SPDX-License-Identifier: MPL-2.0
"""What a receiver can be made to do wrong, in words: the switches are its own, at its control door."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import Response

from sygefravaer.admin.screens.frame import Seen
from sygefravaer.admin.screens.sandbox.doors import SCREEN, At, Drawn, Form, Sent
from sygefravaer.contract.codes import FEJLKODER, LISTS
from sygefravaer.errors import ActRefused, NotThere

PATH: Final = f"{SCREEN.path}/kaos"
KINDS: Final = frozenset({"ksd", "jobcenter"})
AGAIN: Final = 3  # calls in a row that are cut off, so that a message is delivered more than twice
LATE: Final = 10  # seconds
router: Final = SCREEN.router()


@router.get(PATH)
async def page(drawn: Drawn, doors: At) -> Response:
    """Show every receiver with what is wrong with it just now."""
    return await _shown(drawn, doors)


@router.post(f"{PATH}/{{part}}")
async def disturb(part: str, drawn: Drawn, view: Seen, doors: At, sent: Sent) -> Response:
    """Throw a switch of one receiver."""
    if part not in {one["name"] for one in await _receivers(doors)}:
        raise NotThere
    try:
        fields = _switch(sent)
        await doors.ask(part, "chaos", **fields)
    except ActRefused as error:
        return await _shown(drawn, doors, refused=error)
    return view.go(PATH, done="calm" if "reset" in fields else "chaos")


def _switch(sent: Form) -> dict[str, Any]:
    match sent.text("switch"):
        case "lost":
            return {"close_after_apply": 1}
        case "double":
            return {"close_after_apply": sent.number("times", AGAIN)}
        case "slow":
            return {"answer_late": sent.number("seconds", LATE)}
        case "dead":
            return {"refuse_connections": True}
        case "swapped":
            return {"swapped_code": [sent.text("one") or "", sent.text("other") or ""]}
        case "reset":
            return {"reset": True}
    raise ActRefused("FieldWrong", "There is no such switch.")


async def _receivers(doors: At) -> list[dict[str, Any]]:
    return [part for part in await doors.parts() if part["kind"] in KINDS]


async def _shown(drawn: Drawn, doors: At, *, refused: ActRefused | None = None) -> Response:
    receivers = await _receivers(doors)
    faults = await asyncio.gather(*(doors.find(part["name"], "chaos") for part in receivers))
    found = [
        {**part, "faults": told, "wrong": any(told.values())} for part, told in zip(receivers, faults, strict=True)
    ]
    known = sorted({*FEJLKODER, *(code.kode for codes in LISTS.values() for code in codes)})
    return await drawn.show("chaos.html", refused=refused, receivers=found, known=known, again=AGAIN, late=LATE)
