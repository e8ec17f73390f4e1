# SPDX-License-Identifier: MPL-2.0
"""
Business time. It is an argument everywhere, and the sandbox can move it.

Freshness, back-off, repeats, deadlines, agreements, routes and retention follow this clock. Network time-outs, TLS
validity, log-in and the lease of a lane follow the machine.

A loop that does things by itself rests in `sleep_until`. A clock that is *held* stands still, and whoever rests in it
goes on only in a turn: one loop after the other, each until it rests again. So a timekeeper decides who acts when.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from sygefravaer.errors import UsageError

LOG: Final = logging.getLogger(__name__)

PATIENCE: Final = 1.0  # seconds of machine time before a round that failed is begun again


class Clock(Protocol):
    """What every part asks for the time."""

    @property
    def held(self) -> bool:
        """Say whether the time stands and everything is done in turn, one thing after the other."""
        ...

    def now(self) -> datetime:
        """Give the present instant, aware, in UTC."""
        ...

    async def sleep_until(
        self,
        due: datetime | None,
        *,
        wake: asyncio.Event,
        end: asyncio.Event | None = None,
        at_most: float | None = None,
    ) -> None:
        """
        Return when `due` is reached (`None`: never), `wake` or `end` is set, or the clock was moved.

        Also after `at_most` seconds of machine time. While the clock is held, only in a turn, or when `end` is set.
        """
        ...


class SystemClock:
    """The machine's clock."""

    @property
    def held(self) -> bool:
        """It is never held."""
        return False

    def now(self) -> datetime:
        """Give the machine's time."""
        return datetime.now(UTC)

    async def sleep_until(
        self,
        due: datetime | None,
        *,
        wake: asyncio.Event,
        end: asyncio.Event | None = None,
        at_most: float | None = None,
    ) -> None:
        """Wait for `due`, `wake` or `end`."""
        seconds = None if due is None else (due - self.now()).total_seconds()
        await _wait(_given(wake, end), _sooner(seconds, at_most))


@dataclass(eq=False, kw_only=True)
class _Loop:
    """A loop that rests in a held clock, and its leave to go on."""

    task: asyncio.Task[Any]
    go: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        """What decides the order of turns: the same at every start."""
        return getattr(self.task.get_coro(), "__qualname__", "")


class MovableClock:
    """A clock that can be moved forward; between moves it runs, unless it was made to stand or is held."""

    def __init__(self, start: datetime | None = None, *, running: bool = True, held: bool = False) -> None:
        self._running = running
        self._held = held
        self._base = start or datetime.now(UTC)
        self._since = datetime.now(UTC)
        self._moved = asyncio.Event()
        self._resting: list[_Loop] = []
        self._rested = asyncio.Event()
        self._turn: asyncio.Task[None] | None = None
        self._epoch = 0

    @property
    def still(self) -> int | None:
        """Give a number that is the same as long as the clock is held and nobody has had a turn; else None."""
        return self._epoch if self._held and (self._turn is None or self._turn.done()) else None

    @property
    def held(self) -> bool:
        """Say whether it stands and everything is done in turn."""
        return self._held

    def now(self) -> datetime:
        """Give the moved time."""
        return self._base + (datetime.now(UTC) - self._since) if self._running and not self._held else self._base

    def set(self, instant: datetime) -> None:
        """
        Move to `instant`, and wake who waits unless the clock is held; where it stands already is no error.

        Backwards is refused, since messages of the future would then exist.
        """
        if instant.tzinfo is None:
            raise UsageError("ClockNaive", "A time without a zone was given; a time with an offset was wanted.")
        if instant < self.now():
            raise UsageError("ClockBackwards", "The clock was asked to run backwards; it only moves forward.")
        self._base, self._since = instant.astimezone(UTC), datetime.now(UTC)
        if not self._held:
            self._wake_all()

    def advance(self, by: timedelta) -> None:
        """Move forward by `by`."""
        self.set(self.now() + by)

    def hold(self) -> None:
        """Stand still; whoever rests, or comes to rest, waits for a turn."""
        if not self._held:
            self._base, self._held = self.now(), True
            self._epoch += 1
            self._wake_all()

    def release(self) -> None:
        """Go on from here as before the hold, and wake who waits."""
        if self._held:
            self._since, self._held = datetime.now(UTC), False
            for loop in self._resting:
                loop.go.set()
            self._wake_all()

    async def turn(self, patience: float) -> bool:
        """
        Let each loop that rests go on until it rests again, one after the other by name; say whether all rest.

        After `patience` seconds of machine time it returns False, and the turn goes on; a second one joins it.
        """
        if self._turn is None or self._turn.done():
            self._epoch += 1
            self._turn = asyncio.create_task(self._take_turns())
        await asyncio.wait((self._turn,), timeout=patience)
        return self._turn.done()

    async def sleep_until(
        self,
        due: datetime | None,
        *,
        wake: asyncio.Event,
        end: asyncio.Event | None = None,
        at_most: float | None = None,
    ) -> None:
        """Wait for `due`, `wake`, `end` or a move of the clock; while it is held, for a turn or `end`."""
        if not self._held:
            seconds = None if due is None else (due - self.now()).total_seconds()
            if seconds is not None and seconds > 0 and not self._running:
                seconds = None
            await _wait(_given(wake, end, self._moved), _sooner(seconds, at_most))
        # Held meanwhile: what was not begun before the hold is for a turn.
        if self._held and not (end is not None and end.is_set()):
            await self._rest(end)

    async def _rest(self, end: asyncio.Event | None) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Only a task can rest.")
        loop = _Loop(task=task)
        self._resting.append(loop)
        self._rested.set()
        try:
            await _wait(_given(loop.go, end), None)
        finally:
            if loop in self._resting:
                self._resting.remove(loop)

    async def _take_turns(self) -> None:
        for loop in sorted(self._resting, key=lambda loop: loop.name):
            if loop in self._resting:
                self._resting.remove(loop)
                loop.go.set()
            while self._held and not loop.task.done() and not any(one.task is loop.task for one in self._resting):
                self._rested.clear()
                rested = asyncio.ensure_future(self._rested.wait())
                await asyncio.wait((rested, loop.task), return_when=asyncio.FIRST_COMPLETED)
                rested.cancel()

    def _wake_all(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


class Rounds(ABC):
    """
    A loop that does by itself what is due, one thing after the other, and rests until the next is.

    A room that has such things says how one is done (`one`) and when the next is due (`due`). A round that breaks is
    logged and begun again: what broke it keeps its instant.
    """

    def __init__(self, clock: Clock, did: Callable[[], None]) -> None:
        """`did` is called when something was done."""
        self._clock = clock
        self._did = did
        self._wake = asyncio.Event()
        self.busy = 0
        """One while a round goes on."""
        self.done = 0
        """How many things were done by itself; only grows."""

    @abstractmethod
    async def one(self) -> bool:
        """Do one thing that is due; say whether there was one."""

    @abstractmethod
    async def due(self) -> datetime | None:
        """Give the next instant at which something is due."""

    def wake(self) -> None:
        """Look again at what is due."""
        self._wake.set()

    async def run(self) -> None:
        """Do what is due, whenever it is, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._round()
                due = await self.due()
            except Exception as error:
                LOG.warning("the round failed", exc_info=error, extra={"action": "rounds.failed"})
                await asyncio.sleep(PATIENCE)
                continue
            await self._clock.sleep_until(due, wake=self._wake)

    async def _round(self) -> None:
        self.busy += 1
        try:
            while await self.one():
                self.done += 1
                self._did()
        finally:
            self.busy -= 1


def _given(*events: asyncio.Event | None) -> tuple[asyncio.Event, ...]:
    return tuple(event for event in events if event is not None)


def _sooner(*seconds: float | None) -> float | None:
    return min((one for one in seconds if one is not None), default=None)


async def _wait(events: tuple[asyncio.Event, ...], seconds: float | None) -> None:
    if (seconds is not None and seconds <= 0) or any(event.is_set() for event in events):
        return
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
