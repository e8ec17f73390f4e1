# SPDX-License-Identifier: MPL-2.0
"""What is broken, when, and for how long: drawn by seed before a cycle begins, and set off by how far it has come."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ordeal.history import History
from ordeal.house import RECEIVERS, House

DATABASE = "database"
KINDS = (  # what, to whom, how often, for how many seconds
    ("kill", "node", 30, (0.0, 0.4)),
    ("stop", "node", 14, (0.1, 0.9)),  # over before its lease is
    ("stop", "node", 18, (1.8, 3.2)),  # its lease runs out, and then it goes on
    ("kill", "receiver", 16, (0.0, 0.4)),
    ("stop", "receiver", 8, (0.2, 1.6)),
    ("kill", DATABASE, 8, (0.0, 0.2)),
    ("crash", DATABASE, 6, (0.0, 0.2)),  # PostgreSQL's own immediate shutdown
)


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One thing that is done: when so many messages have left, and for so long."""

    after: int
    does: str
    to: str
    seconds: float


def plan(chance: Random, messages: int, nodes: Sequence[str]) -> list[Deed]:
    """Draw what is done in a cycle: three or four deeds, at least one of which kills."""
    deeds: list[Deed] = []
    number = chance.choice((3, 3, 4))
    while len(deeds) < number or not any(deed.does in {"kill", "crash"} for deed in deeds):
        does, whom, _, seconds = chance.choices(KINDS, [kind[2] for kind in KINDS])[0]
        to = {"node": chance.choice(nodes), "receiver": chance.choice(RECEIVERS)}.get(whom, whom)
        after = chance.randint(messages // 12, messages * 11 // 12)
        deeds.append(Deed(after=after, does=does, to=to, seconds=round(chance.uniform(*seconds), 3)))
    return sorted(deeds, key=lambda deed: deed.after)


class Nemesis:
    """Carries out a plan."""

    def __init__(self, house: House, history: History, deeds: Sequence[Deed]) -> None:
        self._house = house
        self._history = history
        self._waiting = list(deeds)
        self._left = 0
        self._work: list[asyncio.Task[None]] = []
        self._turns = {name: asyncio.Lock() for name in (*house.processes, DATABASE)}
        self.done: Counter[str] = Counter()
        self.kills = 0
        self.in_flight = 0  # kills that met a message in flight

    def passed(self) -> None:
        """A message has left: set off what was waiting for it."""
        self._left += 1
        while self._waiting and self._waiting[0].after <= self._left:
            self._work.append(asyncio.create_task(self._do(self._waiting.pop(0))))

    async def over(self) -> None:
        """Wait until everything is mended."""
        await asyncio.gather(*self._work)
        for name, one in self._house.processes.items():
            if not one.alive:
                await self._start(name)

    async def _do(self, deed: Deed) -> None:
        async with self._turns[deed.to]:
            if deed.to != DATABASE and not self._house.processes[deed.to].alive:
                await self._start(deed.to)
            self._note(deed)
            if deed.does == "stop":
                self._house.stop(deed.to)
                await asyncio.sleep(deed.seconds)
                self._house.go_on(deed.to)
                self._history.write("nemesis", does="go on", to=deed.to)
                return
            if deed.to == DATABASE:
                how = signal.SIGQUIT if deed.does == "crash" else signal.SIGKILL
                await self._house.crash_database(how=how)
                await asyncio.sleep(deed.seconds)
                await self._house.start_database()
                self._history.write("nemesis", does="start", to=DATABASE)
                return
            await self._house.kill(deed.to)
            await asyncio.sleep(deed.seconds)
            await self._start(deed.to)

    def _note(self, deed: Deed) -> None:
        flight = self._house.flight
        hit = len(set().union(*flight.values())) if deed.to == DATABASE else len(flight[deed.to])
        self.done[f"{deed.does} {deed.to}"] += 1
        if deed.does != "stop":
            self.kills += 1
            self.in_flight += hit > 0
        self._history.write("nemesis", does=deed.does, to=deed.to, seconds=deed.seconds, in_flight=hit)

    async def _start(self, name: str) -> None:
        """Start a process again, as whoever supervises it would, until it stays."""
        one = self._house.processes[name]
        if one.ended is not None and one.ended.done() and one.ended.result() != -signal.SIGKILL:
            self._history.write("died", to=name, code=one.ended.result())
        await self._house.start(name)
        self._history.write("nemesis", does="start", to=name)
