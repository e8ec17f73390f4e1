# SPDX-License-Identifier: MPL-2.0
"""Building a part from its settings, running it in a process, and ending it in good order."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import uvloop

from sygefravaer import (
    failpoint,
)
from sygefravaer.app.part import Part
from sygefravaer.app.parties import PartyPart
from sygefravaer.app.platform import AdminPart, GatewayPart, ProberPart
from sygefravaer.clock import Clock, MovableClock, SystemClock
from sygefravaer.config import Config, Kind, Surroundings, Time
from sygefravaer.errors import UsageError
from sygefravaer.telemetry import start_logging

GARBAGE: Final = 20_000  # objects more than before, until rings among them are looked for
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h

_BUILDERS: Final[Mapping[Kind, type[Part]]] = {
    Kind.GATEWAY: GatewayPart,
    Kind.ADMIN: AdminPart,
    Kind.KSD: PartyPart,
    Kind.JOBCENTER: PartyPart,
    Kind.PROBER: ProberPart,
}


def build(config: Config, clock: Clock | None = None) -> Part:
    """Build the part that the settings describe; nothing connects yet."""
    return _BUILDERS[config.part](config, clock or clock_of(config))


def clock_of(config: Config) -> Clock:
    """Give the clock that the settings ask for."""
    if config.clock is Time.SYSTEM:
        return SystemClock()
    if config.clock_at is None:
        return MovableClock(datetime.now(UTC) + timedelta(seconds=config.clock_ahead))
    return MovableClock(config.clock_at.astimezone(UTC), held=True)


def main(config: Config, *, with_parent: bool = False) -> None:
    """Run one part in this process until SIGTERM or SIGINT."""
    start_logging()
    if failpoint.arm() and config.environment is Surroundings.PRODUCTION:
        raise UsageError("FailpointInProduction", f"{failpoint.VARIABLE} is set, and this is production.")
    if with_parent:
        end_with_parent()
    uvloop.run(run(config))


async def run(config: Config) -> None:
    """Start the part, and end it in good order when SIGTERM or SIGINT asks; raise what made it fail."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    part = build(config)
    if not await _unless(part.start(), asked):
        return
    _let_garbage_lie()
    try:
        await _unless(part.until_failed(), asked)
    finally:
        await part.stop()


def _let_garbage_lie() -> None:
    """Look for rings of objects less often than Python does by itself, and never among what stays until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


async def _unless(work: Coroutine[Any, Any, None], asked: asyncio.Event) -> bool:
    """Do the work unless the end is asked for first; say whether it was done."""
    doing, ending = asyncio.create_task(work), asyncio.create_task(asked.wait())
    try:
        await asyncio.wait((doing, ending), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            return True
        return False
    finally:
        for task in (doing, ending):
            task.cancel()
        await asyncio.gather(doing, ending, return_exceptions=True)


def end_with_parent() -> None:
    """Be killed by the system when the process that started this one ends, however it ends (Linux)."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise UsageError("Interrupted", "The process that started this one has ended.")
