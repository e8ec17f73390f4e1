# SPDX-License-Identifier: MPL-2.0
"""
The listener for whoever runs a part: `/metrics`, `/healthz` and `/readyz`, on an address of its own, without TLS.

It is not for the public: what it shows is no secret of a person, and still nobody's business. `/healthz` says that the
process answers; `/readyz` that it can do its work, and 503 with what is missing when it cannot.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sygefravaer.endpoint.door import Receive, Scope, Send
from sygefravaer.errors import StoreError
from sygefravaer.telemetry import MEDIA, Metrics, Reading

LOG: Final = logging.getLogger(__name__)
JSON: Final = "application/json"


class Watch:
    """Shows the metrics of a part, and how it is: `readings` are its gauges, `checks` what must be so."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        readings: Callable[[], Awaitable[list[Reading]]],
        checks: Callable[[], Awaitable[Mapping[str, bool]]],
    ) -> None:
        self._metrics = metrics
        self._readings = readings
        self._checks = checks

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        status, kind, body = await self._answer(scope["path"], scope["method"])
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        headers += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, path: str, method: str) -> tuple[int, str, bytes]:
        if method not in {"GET", "HEAD"}:
            return 405, JSON, b"{}"
        match path:
            case "/healthz":
                return 200, JSON, b'{"status": "ok"}'
            case "/readyz":
                checks = await self._checks()
                ready = all(checks.values())
                told = {"status": "ok" if ready else "unready", "checks": dict(checks)}
                return 200 if ready else 503, JSON, json.dumps(told).encode()
            case "/metrics":
                return 200, MEDIA, self._metrics.text(await self._read())
        return 404, JSON, b"{}"

    async def _read(self) -> list[Reading]:
        try:
            return [*await self._readings(), Reading(name="database_up", value=1)]
        except StoreError as error:  # what is counted in the process is shown all the same
            LOG.warning("metrics.database_away", extra={"code": error.code})
            return [Reading(name="database_up", value=0)]
