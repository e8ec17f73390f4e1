# SPDX-License-Identifier: MPL-2.0
"""
The timekeeper: moves all parts of a sandbox through time together, always in the same order.

It asks every part for the next instant at which it will do something by itself, sets all clocks (held) to the smallest
one up to the goal, and lets the parts that are due there take turns, one after the other by name, until two rounds
over all parts find nothing in flight, nothing due and the same counters. Then the next instant. All clocks are set
before anyone acts, so no message is judged by a clock that is behind.

A lane that waits for a later instant is a timer. What waits for a person or for somebody who is away counts as quiet,
and is named. It knows no process and no party: whoever uses it says how to knock at a part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from sygefravaer.control import Json
from sygefravaer.errors import ActRefused, NotQuiet

Knock = Callable[[str, str, Mapping[str, Any]], Awaitable[Json]]
"""Ask a part (by name) for an act with fields; raises `ActRefused` as `control.knock` does."""

TIMEOUT: Final = 120.0  # seconds for one instant: longer than a delivery (40) and the lease of one that died (60)
SILENCE: Final = 0.5  # seconds without any change after which what is under way to a silent part counts as quiet
SHORTEST: Final = 0.002  # seconds between looks at what is not quiet yet, doubled up to the longest
LONGEST: Final = 0.1
AWAY: Final[Mapping[str, str]] = {
    "NobodyThere": "down",
    "PartDown": "down",
    "PartPaused": "paused",
    "NoAnswer": "silent",
}
"""What a refusal at the door says of a part; any other one is a fault."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """What a part says of itself: when it will next do something, what is in flight, what stands, what there was."""

    next: datetime | None
    in_flight: int
    parked: int
    counters: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Quiet:
    """A part that counts as quiet although something of it, or the whole of it, waits."""

    part: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """An instant to which all clocks were set, and who is due there."""

    instant: datetime
    due: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Move:
    """What a move came to; `seen` says what was waited for and came."""

    start: datetime
    end: datetime
    instants: int
    messages: int
    quiet: tuple[Quiet, ...]
    seen: str | None = None

    def as_json(self) -> Json:
        """Give it as a door and a command show it."""
        return {
            "from": self.start.isoformat(),
            "to": self.end.isoformat(),
            "instants": self.instants,
            "messages": self.messages,
            "quiet": [{"part": one.part, "why": one.why} for one in self.quiet],
            "seen": self.seen,
        }


class Watch(Protocol):
    """Something that a move can end at."""

    async def begin(self, keeper: Timekeeper) -> None:
        """Note how things are before the move."""
        ...

    async def seen(self, keeper: Timekeeper) -> str | None:
        """Say what has come since, or None."""
        ...


def _nothing(_: Step) -> None:
    """Tell nobody."""


@dataclass(kw_only=True)
class Timekeeper:
    """Moves the `parts` that `knock` reaches; `progress` hears of every instant, before anything is done there."""

    knock: Knock
    parts: Collection[str]
    progress: Callable[[Step], None] = _nothing
    timeout: float = TIMEOUT
    round: dict[str, Due] = field(default_factory=dict, init=False)
    """What every part that is there said last."""
    _away: dict[str, str] = field(default_factory=dict, init=False)
    _ran: set[str] = field(default_factory=set, init=False)
    _held: set[str] = field(default_factory=set, init=False)
    _stuck: dict[str, str] = field(default_factory=dict, init=False)
    _now: datetime = field(default=datetime.min.replace(tzinfo=UTC), init=False)

    @property
    def now(self) -> datetime:
        """The instant at which all clocks were set last."""
        return self._now

    @property
    def began(self) -> bool:
        """Say whether any clock was set."""
        return bool(self._held)

    async def settle(self, *, timeout: float | None = None) -> Move:  # noqa: ASYNC109  for one instant, not for the call
        """Let everything happen that is due now, and move nothing."""
        return await self.advance(timedelta(), timeout=timeout)

    async def advance(
        self,
        goal: datetime | timedelta,
        *,
        until: Watch | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  for one instant, not for the call
    ) -> Move:
        """
        Move to an instant or by a while, from instant to instant, and no further than where `until` is seen.

        At the end all clocks stand there, and those that ran run on. Raises `NotQuiet` when an instant takes longer
        than `timeout` seconds of machine time, and `ActRefused` (`ClockBackwards`) for a goal that is past.
        """
        limit = self.timeout if timeout is None else timeout
        self._away.clear()
        self._ran.clear()
        self._held.clear()
        try:
            start = await self._hold()
            end = start + goal if isinstance(goal, timedelta) else goal.astimezone(UTC)
            if end < start:
                raise ActRefused(
                    "ClockBackwards", f"It is {start.isoformat()} already, and the clock only moves forward."
                )
            return await self._moved(start, end, until, limit)
        finally:
            await self._release()

    async def _moved(self, start: datetime, goal: datetime, until: Watch | None, limit: float) -> Move:
        await self._look()
        before, instants, seen = self._messages(), 0, None
        if until is not None:
            await until.begin(self)
        while True:
            instants += await self._quieten(limit)
            if until is not None and (seen := await until.seen(self)) is not None:
                break
            later = [one.next for one in self.round.values() if one.next is not None and one.next > self._now]
            following = min(later, default=None)
            if following is None or following > goal:
                await self._set(max(goal, self._now))
                break
            await self._set(following)
            self.progress(Step(instant=self._now, due=self._due()))
        return Move(
            start=start,
            end=self._now,
            instants=instants,
            messages=self._messages() - before,
            quiet=self._named(),
            seen=seen,
        )

    # --- clocks ---

    async def _hold(self) -> datetime:
        """Hold every clock, and bring all to where the one that is furthest stands."""
        found = await self._ask_all("clock", {})
        self._ran = {part for part, told in found.items() if not told.get("held")}
        found = await self._ask_all("clock", {"hold": True})
        self._now = max((datetime.fromisoformat(told["now"]) for told in found.values()), default=self._now)
        await self._set(self._now)
        return self._now

    async def _set(self, instant: datetime) -> None:
        """Set all clocks, quietly; one that is ahead, since its part has just been started, takes the others along."""
        self._now = instant
        while True:
            try:
                found = await self._ask_all("clock", {"hold": True, "now": self._now.isoformat()})
            except ActRefused as error:
                if error.code != "ClockBackwards":
                    raise
                told = await self._ask_all("clock", {})
                self._now = max(datetime.fromisoformat(one["now"]) for one in told.values())
            else:
                self._held = set(found)
                return

    async def _release(self) -> None:
        """Let the clocks that ran run on; a part that is not there, or refuses, has no part in it."""
        ran = [part for part in sorted(self.parts) if part in self._ran and part not in self._away]
        await asyncio.gather(*(self.knock(part, "clock", {"hold": False}) for part in ran), return_exceptions=True)

    # --- one instant ---

    async def _quieten(self, limit: float) -> int:
        """Let everything happen that is due now, until all is quiet; say whether there was anything (1 or 0)."""
        loop = asyncio.get_running_loop()
        began = changed = loop.time()
        pause, acted, self._stuck = SHORTEST, 0, {}
        while True:
            due, before = self._due(), self.round
            stalled = self._silent() and loop.time() > changed + SILENCE
            if due and (stalled or not self._in_flight()):
                acted = 1
                for part in due:
                    if not await self._turn(part) and not stalled:
                        break
            await self._look()
            busy, now = self._busy(), loop.time()
            if busy and now > began + limit:
                told = "; ".join(f"{part}: {why}" for part, why in busy.items())
                raise NotQuiet(f"At {self._now.isoformat()}, after {limit:g} s: {told}.")
            if self.round != before:
                changed, pause = now, SHORTEST
            elif not busy:
                return acted
            elif stalled:
                self._stuck = {part: f"{why}, and somebody is silent" for part, why in busy.items()}
                return acted
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST)

    async def _turn(self, part: str) -> bool:
        """Let a part do what is due; say whether it rests again."""
        told = await self._ask(part, "clock", {"turn": True})
        return told is None or bool(told.get("rests"))

    async def _look(self) -> None:
        """Ask every part how it is; one that has come back gets the time of the others first."""
        found = await self._ask_all("due", {})
        if new := set(found) - self._held:
            told = {part: await self._ask(part, "clock", {}) for part in sorted(new)}
            self._ran |= {part for part, one in told.items() if one is not None and not one.get("held")}
            self._held &= set(found)
            await self._set(self._now)
            found = await self._ask_all("due", {})
        self.round = {part: _due(told) for part, told in found.items()}

    # --- what the last round says ---

    def _due(self) -> tuple[str, ...]:
        return tuple(part for part, one in self.round.items() if one.next is not None and one.next <= self._now)

    def _in_flight(self) -> int:
        return sum(one.in_flight for one in self.round.values())

    def _silent(self) -> bool:
        return any(why in {"silent", "paused"} for why in self._away.values())

    def _messages(self) -> int:
        return sum(one.counters.get("accepted", 0) for one in self.round.values())

    def _busy(self) -> dict[str, str]:
        due = self._due()
        found = {}
        for part, one in self.round.items():
            if one.in_flight:
                found[part] = f"{one.in_flight} in flight"
            elif part in due:
                found[part] = f"what was due at {one.next.isoformat() if one.next else '-'} is not done"
        return found

    def _named(self) -> tuple[Quiet, ...]:
        parked = {part: f"{one.parked} parked" for part, one in self.round.items() if one.parked}
        reasons = [*self._away.items(), *self._stuck.items(), *parked.items()]
        return tuple(Quiet(part=part, why=why) for part, why in sorted(reasons))

    # --- knocking ---

    async def _ask_all(self, act: str, fields: Mapping[str, Any]) -> dict[str, Json]:
        """Ask every part at once; those that are there, by name."""
        parts = sorted(self.parts)
        answers = await asyncio.gather(*(self._ask(part, act, fields) for part in parts))
        return {part: told for part, told in zip(parts, answers, strict=True) if told is not None}

    async def _ask(self, part: str, act: str, fields: Mapping[str, Any]) -> Json | None:
        if self._away.get(part) == "silent":
            return None  # asking costs a time-out, every time
        try:
            told = await self.knock(part, act, fields)
        except ActRefused as error:
            if error.code not in AWAY:
                raise
            self._away[part] = AWAY[error.code]
            return None
        self._away.pop(part, None)
        return told


def _due(told: Json) -> Due:
    following = told["next"]
    return Due(
        next=None if following is None else datetime.fromisoformat(following),
        in_flight=told["in_flight"],
        parked=told["parked"],
        counters=told["counters"],
    )
