# SPDX-License-Identifier: MPL-2.0
"""The status of the service for everybody: what the record says, without who of the receivers is silent."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from fastapi import FastAPI

from sygefravaer.admin.office import Office
from sygefravaer.contract.operations import Service
from sygefravaer.status import ServiceStatus, history, service_status

PATH: Final = "/service/status.json"
KEPT_SECONDS: Final = 5.0  # the record changes once a minute, and anybody may ask


class PublicStatus:
    """What everybody may read; read once for all who ask within some seconds."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._lock = asyncio.Lock()
        self._kept: tuple[float, dict[str, Any]] | None = None

    async def told(self) -> dict[str, Any]:
        """Tell how each service is and was."""
        async with self._lock:
            if self._kept is None or time.monotonic() > self._kept[0]:
                self._kept = (time.monotonic() + KEPT_SECONDS, await self._read())
            return self._kept[1]

    async def _read(self) -> dict[str, Any]:
        now, services = self._office.machine(), []
        async with self._office.store.read() as tx:
            for one in Service:
                days = await history(tx, one, now=now)
                told = shown(await service_status(tx, one, now=now))
                services.append(told | {"historik": [day.plain() for day in days]})
        return {"services": services}


def add_status(app: FastAPI, status: PublicStatus) -> None:
    """Let everybody read the status as JSON."""

    @app.get(PATH)
    async def status_json() -> dict[str, Any]:
        return await status.told()


def shown(status: ServiceStatus) -> dict[str, Any]:
    """Give a status as everybody may see it: how many receivers are silent, and not which."""
    told = status.plain()
    for operation in told["operations"]:
        detail = operation["detail"]
        operation["detail"] = {name: len(v) if isinstance(v, list) else v for name, v in detail.items()}
    return told
