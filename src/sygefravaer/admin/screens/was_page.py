# SPDX-License-Identifier: MPL-2.0
"""`/was`: the accessibility statement, as a draft that whoever runs the platform completes and publishes."""

from __future__ import annotations

from typing import Final

from fastapi import Response

from sygefravaer.admin.screens.frame import Screen, Seen
from sygefravaer.admin.screens.texts import danish

SCREEN: Final = Screen(name="was", path="/was", label=danish("Tilgængelighed"), roles=None, in_menu=False)
router: Final = SCREEN.router()


@router.get(SCREEN.path)
async def page(view: Seen) -> Response:
    """Show the draft."""
    return view.page("was/page.html")
