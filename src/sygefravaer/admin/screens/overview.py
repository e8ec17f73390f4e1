# SPDX-License-Identifier: MPL-2.0
"""Overblik: what waits for somebody, oldest first, and what will soon."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Response

from sygefravaer.admin.access import User
from sygefravaer.admin.office import In, Office
from sygefravaer.admin.screens.frame import Screen, Seen
from sygefravaer.admin.screens.texts import danish
from sygefravaer.delivery import obligations

SCREEN: Final = Screen(name="overview", path="/overblik", label=danish("Overblik"))
SHOWN: Final = 50
router: Final = SCREEN.router()

Reader = Annotated[User, Depends(SCREEN.users)]


@router.get(SCREEN.path)
async def page(user: Reader, view: Seen, office: In) -> Response:
    """Show the page; asked for by the page itself, only what changes of it."""
    template = "overview/parts.html" if view.by_htmx else "overview/page.html"
    return view.page(template, **await _found(office, user))


async def _found(office: Office, user: User) -> dict[str, Any]:
    municipality = None if user.everywhere else user.cvr
    owed = await obligations.owed(office.store, municipality=municipality, limit=SHOWN)
    return {"owed": owed}
