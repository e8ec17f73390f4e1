# SPDX-License-Identifier: MPL-2.0
"""
The door for those who run a part: its figures, whether it lives, whether it can do its work.

A listener of its own, without TLS and without log-in, for the operator's inner network; nothing personal is told there.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final

from sygefravaer.endpoint.door import Receive, Scope, Send
from sygefravaer.telemetry import Figures
from sygefravaer.telemetry.figures import MEDIA_TYPE

Ready = Callable[[], Awaitable[str | None]]
"""Says why the part cannot do its work; None when it can."""

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
PATHS: Final = ("/metrics", "/live", "/ready")


class WatchDoor:
    """An ASGI application with three paths: `/metrics` (Prometheus), `/live`, `/ready` (200, or 503 and why)."""

    def __init__(self, figures: Figures, ready: Ready) -> None:
        self._figures = figures
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        while (await receive()).get("more_body", False):
            pass
        status, kind, body = await self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if path not in PATHS:
            return 404, TEXT, f"Nothing is here; {', '.join(PATHS)} are.\n".encode()
        if method not in {"GET", "HEAD"}:
            return 405, TEXT, b"Only GET is served here.\n"
        if path == "/metrics":
            return 200, MEDIA_TYPE, await self._figures.text()
        if path == "/live":
            return 200, JSON, b'{"live": true}\n'
        why = await self._ready()
        told = {"ready": why is None} | ({} if why is None else {"why": why})
        return 200 if why is None else 503, JSON, f"{json.dumps(told)}\n".encode()
