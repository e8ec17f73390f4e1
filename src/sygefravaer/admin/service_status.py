# SPDX-License-Identifier: MPL-2.0
"""The status of the service for everybody: what the record says, without who of the receivers is silent."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from fastapi import FastAPI

from sygefravaer.admin.office import Office
from sygefravaer.contract.operations import Service
from sygefravaer.status import ServiceStatus, service_status

PATH: Final = "/service/status.json"
KEPT_SECONDS: Final = 5.0  # the record changes once a minute, and anybody may ask


def add_status(app: FastAPI, office: Office) -> None:
    """Let everybody read the status."""
    lock = asyncio.Lock()
    kept: tuple[float, dict[str, Any]] | None = None

    @app.get(PATH)
    async def status() -> dict[str, Any]:
        nonlocal kept
        async with lock:
            if kept is None or time.monotonic() > kept[0]:
                kept = (time.monotonic() + KEPT_SECONDS, await _told(office))
            return kept[1]


async def _told(office: Office) -> dict[str, Any]:
    async with office.store.read() as tx:
        return {"services": [shown(await service_status(tx, one, now=office.machine())) for one in Service]}


def shown(status: ServiceStatus) -> dict[str, Any]:
    """Give a status as everybody may see it: how many receivers are silent, and not which."""
    told = status.plain()
    for operation in told["operations"]:
        detail = operation["detail"]
        operation["detail"] = {name: len(v) if isinstance(v, list) else v for name, v in detail.items()}
    return told
