# SPDX-License-Identifier: MPL-2.0
"""The site: every screen, the files that pages load, the API beside them, and what all answers carry."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sygefravaer import __version__
from sygefravaer.admin.access import whoever
from sygefravaer.admin.office import Office
from sygefravaer.admin.problems import Guard
from sygefravaer.admin.rest import PREFIX, api
from sygefravaer.admin.screens import (
    case,
    codes,
    live,
    login,
    message,
    messages,
    overview,
    service_page,
    state_page,
    status_page,
    was_page,
)
from sygefravaer.admin.screens.frame import STATIC, Frame
from sygefravaer.admin.screens.live import Live
from sygefravaer.admin.screens.refusing import speak_pages
from sygefravaer.admin.service_status import PublicStatus, add_status
from sygefravaer.clock import Clock

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
KEPT: Final = "public, max-age=31536000, immutable"  # its address changes when it does
ASKED_AGAIN: Final = "public, max-age=3600"
SCREENS: Final = (
    # in the order of the menu
    overview,
    messages,
    message,
    case,
    status_page,
    service_page,
    state_page,
    codes,
    was_page,
    live,
    login,
)
WITHOUT_OFFICE: Final = frozenset({state_page, codes, was_page})
"""What can be shown where there is no database."""


class Site:
    """The web application of the administration; `close()` ends what would go on for as long as a page is open."""

    def __init__(self, parts: Mapping[str, Path], *, clock: Clock, office: Office | None) -> None:
        shown = [one for one in SCREENS if office is not None or one in WITHOUT_OFFICE]
        app = FastAPI(title="Sygefravaer administration", version=__version__, docs_url=None, redoc_url=None)
        app.state.frame = Frame([one.SCREEN for one in shown], clock=clock, office=office)
        app.state.office, app.state.parts = office, parts
        speak_pages(app)
        if office is not None:
            app.state.status = PublicStatus(office)
            add_status(app, app.state.status)  # before the pages of the services, whose paths it lies among
        for one in shown:
            app.include_router(one.router)
        app.add_api_route("/", _front, include_in_schema=False)
        app.mount(STATIC, _Files(directory=Path(str(resources.files("sygefravaer.admin"))) / "static"))
        self._live = None
        if office is not None:
            app.state.live = self._live = Live(office)
            app.mount(PREFIX, api(office))
        self.app = app
        self._outermost: ASGIApp = _Headed(Guard(app))

    def close(self) -> None:
        """End every stream of updates."""
        if self._live is not None:
            self._live.close()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._outermost(scope, receive, send)


async def _front(request: Request) -> Response:
    """Lead to what somebody most likely came for."""
    office = request.app.state.office
    signed_in = office is not None and await whoever(request) is not None
    return RedirectResponse(overview.SCREEN.path if signed_in else state_page.SCREEN.path, status_code=303)


class _Files(StaticFiles):
    """Files that browsers keep, as long as their address names what is in them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = KEPT if scope["query_string"].startswith(b"v=") else ASKED_AGAIN
        return response


class _Headed:
    """Puts on every answer what browsers must obey."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, headed)
