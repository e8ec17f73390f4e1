# SPDX-License-Identifier: MPL-2.0
"""The code lists, as a page."""

from __future__ import annotations

from typing import Final

from fastapi import Response

from sygefravaer.admin.screens.frame import Screen, Seen
from sygefravaer.admin.screens.texts import danish
from sygefravaer.contract.coded import list_names, shown

SCREEN: Final = Screen(name="codes", path="/koder", label=danish("Kodelister"), roles=None)
router: Final = SCREEN.router()


@router.get(SCREEN.path)
async def page(view: Seen) -> Response:
    """Show every list."""
    return view.page("codes/page.html", lists=[shown(name) for name in list_names()])
