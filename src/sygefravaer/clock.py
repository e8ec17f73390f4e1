# SPDX-License-Identifier: MPL-2.0
"""
Business time. It is an argument everywhere, and the sandbox can move it.

Freshness, back-off, repeats, deadlines, agreements, routes and retention follow this clock. Network time-outs, TLS
validity, log-in and the lease of a lane follow the machine.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sygefravaer.errors import UsageError


class Clock(Protocol):
    """What every part asks for the time."""

    def now(self) -> datetime:
        """Give the present instant, aware, in UTC."""
        ...

    async def sleep_until(self, due: datetime | None, *, wake: asyncio.Event) -> None:
        """Return when `due` is reached, when `wake` is set, or when the clock was moved; `None` has no end."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Give the machine's time."""
        return datetime.now(UTC)

    async def sleep_until(self, due: datetime | None, *, wake: asyncio.Event) -> None:
        """Wait for `due` or for `wake`."""
        await _wait((wake,), None if due is None else (due - self.now()).total_seconds())


class MovableClock:
    """A clock that can be moved forward; between moves it runs, unless it is stopped."""

    def __init__(self, start: datetime | None = None, *, running: bool = True) -> None:
        self._running = running
        self._base = start or datetime.now(UTC)
        self._since = datetime.now(UTC)
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        """Give the moved time."""
        return self._base + (datetime.now(UTC) - self._since) if self._running else self._base

    def set(self, instant: datetime) -> None:
        """Move to `instant`; backwards is refused, since messages of the future would then exist."""
        if instant.tzinfo is None:
            raise UsageError("ClockNaive", "A time without a zone was given; a time with an offset was wanted.")
        if instant < self.now():
            raise UsageError("ClockBackwards", "The clock was asked to run backwards; it only moves forward.")
        self._base, self._since = instant.astimezone(UTC), datetime.now(UTC)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def advance(self, by: timedelta) -> None:
        """Move forward by `by`."""
        self.set(self.now() + by)

    async def sleep_until(self, due: datetime | None, *, wake: asyncio.Event) -> None:
        """Wait for `due`, for `wake`, or for a move of the clock."""
        seconds = None
        if due is not None:
            seconds = (due - self.now()).total_seconds()
            if seconds > 0 and not self._running:
                seconds = None
        await _wait((wake, self._moved), seconds)


async def _wait(events: tuple[asyncio.Event, ...], seconds: float | None) -> None:
    if seconds is not None and seconds <= 0:
        return
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
