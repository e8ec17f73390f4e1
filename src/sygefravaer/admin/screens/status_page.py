# SPDX-License-Identifier: MPL-2.0
"""Status: how the service is and was, for everybody, with how it was measured. As JSON: `/service/status.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request, Response

from sygefravaer.admin.screens.frame import Screen, Seen
from sygefravaer.admin.screens.overview import STATES
from sygefravaer.admin.screens.texts import danish
from sygefravaer.admin.service_status import PublicStatus
from sygefravaer.contract import names
from sygefravaer.status import AIM, Measured, Outcome, danish_share

SCREEN: Final = Screen(name="status", path="/service/status", label=danish("Status"), roles=None)
MEASURED: Final[Mapping[str, str]] = {
    Measured.LOOKUP: danish("et opslag gennem gatewayen, som KSD har besvaret"),
    Measured.CONTRACT: danish("kontrakten hentet hos gatewayen over gensidig TLS, og et HTTP-svar fra hver modtager"),
}
OUTCOMES: Final[Mapping[str, str]] = {
    Outcome.UP: danish("Oppe"),
    Outcome.PARTIAL: danish("Delvist oppe"),
    Outcome.DOWN: danish("Nede"),
    Outcome.UNKNOWN: danish("Ukendt"),
}
KINDS: Final[Mapping[str, str]] = {
    Outcome.UP: "success",
    Outcome.PARTIAL: "warning",
    Outcome.DOWN: "error",
    Outcome.UNKNOWN: "plain",
}
router: Final = SCREEN.router()


@router.get(SCREEN.path)
async def page(request: Request, view: Seen) -> Response:
    """Show the status of both services."""
    return view.page("status/page.html", services=await services(request), aim=danish_share(AIM), **words())


async def services(request: Request) -> list[dict[str, Any]]:
    """Read the status as everybody may see it."""
    status: PublicStatus = request.app.state.status
    told: list[dict[str, Any]] = (await status.told())["services"]
    return told


def words() -> dict[str, Any]:
    """Give what the words of a status are said by."""
    return {"states": STATES, "measured": MEASURED, "outcomes": OUTCOMES, "kinds": KINDS, "titles": TITLES}


TITLES: Final[Mapping[str, str]] = {
    names.SYGEFRAVAER: danish("Sygefravær"),
    names.SYGEFRAVAER_JC: danish("Sygefravær (JC)"),
}
