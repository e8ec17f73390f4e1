# SPDX-License-Identifier: MPL-2.0
"""
The state of each part, as a page and as JSON; the code lists, as a page.

The parts are asked by their control doors; the paths come from the configuration, and without them there is nothing
to ask. The pages need no script and load nothing from elsewhere; their policy forbids both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from sygefravaer import __version__
from sygefravaer.admin.office import Office
from sygefravaer.admin.rest import PREFIX, api
from sygefravaer.admin.service_status import add_status
from sygefravaer.clock import Clock
from sygefravaer.contract.coded import list_names, shown
from sygefravaer.control import knock
from sygefravaer.errors import SygefravaerError

KNOCK_SECONDS: Final = 2.0
DENMARK: Final = ZoneInfo("Europe/Copenhagen")
NO_COUNTS: Final = frozenset({"pid", "port"})
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, kw_only=True)
class PartState:
    """What one part says of itself; `health` is `ok` or `silent`."""

    part: str
    health: str
    version: str | None = None
    now: str | None = None
    counts: Mapping[str, str] | None = None


def application(parts: Mapping[str, Path], *, clock: Clock, office: Office | None = None) -> FastAPI:
    """
    Build the web application; `parts` are control sockets by the name of the part.

    Without an `office` there is no API: an administration that has no database only shows the state of the parts.
    """
    app = FastAPI(title="Sygefravaer administration", version=__version__, docs_url=None, redoc_url=None)
    pages = Environment(
        loader=PackageLoader("sygefravaer.admin"), autoescape=True, undefined=StrictUndefined, auto_reload=False
    )
    pages.filters["danish_time"] = _danish_time
    style = resources.files("sygefravaer.admin").joinpath("static/admin.css").read_bytes()

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.get("/", response_class=HTMLResponse)
    async def state_page() -> str:
        states = await _states(parts)
        return pages.get_template("state.html").render(states=states, now=clock.now(), version=__version__)

    @app.get("/status.json")
    async def state_json() -> dict[str, object]:
        states = await _states(parts)
        return {"now": clock.now().isoformat(), "version": __version__, "parts": [asdict(state) for state in states]}

    @app.get("/koder", response_class=HTMLResponse)
    async def codes_page() -> str:
        lists = [shown(name) for name in list_names()]
        return pages.get_template("koder.html").render(lists=lists, now=clock.now(), version=__version__)

    @app.get("/static/admin.css")
    async def stylesheet() -> Response:
        return Response(style, media_type="text/css; charset=utf-8")

    if office is not None:
        app.mount(PREFIX, api(office))
        add_status(app, office)
    return app


def _danish_time(instant: datetime | str) -> str:
    """Write an instant as people in Denmark read it."""
    if isinstance(instant, str):
        instant = datetime.fromisoformat(instant)
    return instant.astimezone(DENMARK).strftime("%d.%m.%Y kl. %H.%M.%S")


def _nested(told: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = told.get(key)
    return value if isinstance(value, dict) else {}


async def _states(parts: Mapping[str, Path]) -> list[PartState]:
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
