# SPDX-License-Identifier: MPL-2.0
"""
How a supervisor moves the clocks of its parts: one move at a time, begun by an act and asked about by others.

A move can last longer than anybody waits at a door, so the act that begins it waits a while and then says how far it
is; who asks again is told the same, and at last what it came to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from sygefravaer.control import Fields, Json, Visitor
from sygefravaer.errors import ActRefused, SygefravaerError, UsageError
from sygefravaer.sandbox.events import watch
from sygefravaer.sandbox.parts import Layout, Process, State
from sygefravaer.sandbox.timekeeper import TIMEOUT, Move, Step, Timekeeper, Watch

WAIT: Final = 5.0  # seconds that an act waits for the end of a move
AT_MOST: Final = timedelta(days=366)  # how far a move looks for an event when nobody says


class Moved(Protocol):
    """Whoever keeps the time hears of it."""

    def __call__(self, now: datetime, *, ended: bool) -> None:
        """Take in the time that the parts have now."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Wish:
    goal: datetime | timedelta
    until: Watch | None
    timeout: float


class Mover:
    """Moves the parts of one sandbox; `ready` is waited for first, `moved` hears of every instant."""

    def __init__(
        self,
        processes: Mapping[str, Process],
        layout: Layout,
        *,
        moved: Moved,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._processes = processes
        self._layout = layout
        self._moved = moved
        self._ready = ready
        self._task: asyncio.Task[Move] | None = None
        self._step: Step | None = None
        self._instants = 0
        self._start = datetime.min.replace(tzinfo=UTC)
        self._goal: datetime | None = None

    async def tell(self, given: Json, time: Callable[[], datetime]) -> Json:
        """Begin a move if one is asked for, wait a while for it, and say how far it is or what it came to."""
        fields, now = Fields(given), time()
        wait = fields.find("wait", float)
        wish = self._wish(fields, now)
        if wish is not None:
            if self.moving:
                raise ActRefused(
                    "ClockMoves", "The clock is being moved; a second move begins when the first has ended."
                )
            self._step, self._instants, self._start = None, 0, now
            self._task = asyncio.create_task(self._move(wish))
        if self._task is not None:
            await asyncio.wait(
                (self._task,), timeout=0.0 if wish is None else min(WAIT if wait is None else wait, WAIT)
            )
        return {"now": time().isoformat(), "moving": self.moving, **self._progress(), **self._result()}

    async def standing(self) -> datetime | None:
        """Give the instant at which the clocks of all parts stand; None while one runs or a move goes on."""
        running = [name for name, process in self._processes.items() if process.state is State.RUNNING]
        if self.moving or not running:
            return None
        async with Visitor({name: self._layout.socket(name) for name in running}) as visitor:
            knocks = (visitor.knock(name, "clock", {}) for name in running)
            asked = await asyncio.gather(*knocks, return_exceptions=True)
        told = [one for one in asked if not isinstance(one, BaseException)]
        if not told or not all(one.get("held") for one in told):
            return None
        return max(datetime.fromisoformat(one["now"]) for one in told)

    async def catch_up(self, part: str, now: datetime) -> None:
        """Give a part that has been away the time of the others; while a move goes on, that does it."""
        if self.moving:
            return
        async with Visitor({part: self._layout.socket(part)}) as visitor:
            with contextlib.suppress(ActRefused):  # it may be a moment ahead
                await visitor.knock(part, "clock", {"now": now.isoformat()})
            await visitor.knock(part, "clock", {"hold": False})

    async def stop(self) -> None:
        """Break off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def moving(self) -> bool:
        """Say whether a move goes on."""
        return self._task is not None and not self._task.done()

    def _wish(self, given: Fields, now: datetime) -> _Wish | None:
        instant, event, timeout = given.find("now", datetime), given.find("until", str), given.find("timeout", float)
        seconds = self._seconds(given)
        given.done()
        if seconds is None and instant is None and event is None:
            return None
        goal = instant or (AT_MOST if seconds is None else seconds)
        if isinstance(goal, datetime) and goal < now:
            raise ActRefused("ClockBackwards", f"It is {now.isoformat()} already, and the clock only moves forward.")
        try:
            self._goal = (goal if isinstance(goal, datetime) else now + goal).astimezone(UTC)
        except OverflowError as error:
            raise ActRefused("FieldWrong", "The time would be past the end of the calendar.") from error
        until = None if event is None else watch(event)
        return _Wish(goal=goal, until=until, timeout=TIMEOUT if timeout is None else timeout)

    def _seconds(self, given: Fields) -> timedelta | None:
        try:
            seconds = given.find("advance", float)
            found = None if seconds is None else timedelta(seconds=seconds)
        except (UsageError, OverflowError) as error:
            raise ActRefused("FieldWrong", "`advance` is a number of seconds, not negative.") from error
        if found is not None and found < timedelta():
            raise ActRefused("ClockBackwards", "`advance` is a number of seconds, not negative.")
        return found

    def _progress(self) -> Json:
        if self._step is None or self._goal is None:
            return {}
        return {
            "instant": self._step.instant.isoformat(),
            "due": list(self._step.due),
            "instants": self._instants,
            "from": self._start.isoformat(),
            "goal": self._goal.isoformat(),
        }

    def _result(self) -> Json:
        if self._task is None or not self._task.done() or self._task.cancelled():
            return {}
        error = self._task.exception()
        if error is None:
            return {"moved": self._task.result().as_json()}
        if not isinstance(error, SygefravaerError):
            raise error
        return {"failed": {"code": error.code, "text": error.detail or error.text}}

    async def _move(self, wish: _Wish) -> Move:
        await self._ready()
        async with Visitor({name: self._layout.socket(name) for name in self._processes}) as visitor:

            async def knock(part: str, act: str, fields: Mapping[str, Any]) -> Json:
                state = self._processes[part].state
                if state is State.PAUSED:
                    raise ActRefused("PartPaused", f"{part} is paused.")
                if state is not State.RUNNING:
                    raise ActRefused("PartDown", f"{part} has no process.")
                return await visitor.knock(part, act, fields)

            keeper = Timekeeper(knock=knock, parts=self._processes, progress=self._stepped, timeout=wish.timeout)
            try:
                return await keeper.advance(wish.goal, until=wish.until)
            finally:
                if keeper.began:
                    self._moved(keeper.now, ended=True)

    def _stepped(self, step: Step) -> None:
        self._step, self._instants = step, self._instants + 1
        self._moved(step.instant, ended=False)
