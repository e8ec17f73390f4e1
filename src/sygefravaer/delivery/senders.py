# SPDX-License-Identifier: MPL-2.0
"""
The senders: how many calls of one are under way at a time, so that one's crowd is not the others' wait.

`Senders` counts calls between door and commit. `Callers` counts all that wait for an answer: the worker lets them go
first. `Crowds` counts a sender's messages to one receiver until they are answered: whoever pours beside others has as
many under way as keep the machine and the receiver busy (`Pace`), and waits with the others at the door, instead of in
front of everybody in every queue behind it. Who is alone waits for nobody's sake, and gets what the machine can give:
many under way share its wake-ups and its flushes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Hashable
from time import monotonic
from typing import Final

from sygefravaer.delivery.pace import Pace

AT_A_TIME: Final = 6  # calls of one sender between door and commit; fewer than the connections of a pool
MOST: Final = 32  # messages of one sender to one receiver under way
KEPT: Final = 1000  # crowds whose pace is remembered
BESIDE: Final = 30.0  # seconds after the last message of another sender for which one is not alone
COURTESY: Final = 0.016  # seconds at most for which a message that nobody waits for lets callers go first
WAIT: Final = 1.0  # seconds that a message waits for a place; then it goes on without: a receiver may be slow


class Senders:
    """
    Lets `at_a_time` calls of each sender in at a time; the others of the same sender wait in the order they came in.

    Without it whoever opens two hundred connections would have two hundred turns at the processor and the database for
    each one of a sender with one connection. What is waited for at a receiver is not counted here.
    """

    def __init__(self, at_a_time: int = AT_A_TIME) -> None:
        self._at_a_time = at_a_time
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._inside: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def turn(self, sender: str) -> AsyncIterator[None]:
        """Wait for a turn of this sender's, and keep it for the block."""
        turns = self._turns.get(sender)
        if turns is None:
            turns = self._turns[sender] = asyncio.Semaphore(self._at_a_time)
        self._inside[sender] = self._inside.get(sender, 0) + 1
        try:
            async with turns:
                yield
        finally:
            self._inside[sender] -= 1
            if not self._inside[sender]:  # of who has gone nothing is kept
                del self._turns[sender], self._inside[sender]


class Callers:
    """
    The calls that are being answered, of all senders.

    What lies in the lanes has waited already; who calls waits now. So the worker sends between the calls: what it sends
    at the same moment would take the processor and the database from them. It waits for a moment only, since there may
    always be a call, or one that waits long for a receiver.
    """

    def __init__(self, *, patience: float = COURTESY) -> None:
        self._patience = patience
        self._inside = 0
        self._answered = asyncio.Event()

    def __enter__(self) -> None:
        """Count a call that comes in."""
        self._inside += 1
        self._answered.clear()

    def __exit__(self, *_: object) -> None:
        """Let whoever waits go on after the last one was answered."""
        self._inside -= 1
        if not self._inside:
            self._answered.set()

    async def first(self) -> None:
        """Let them go first: return when nobody is being answered, or after `patience` seconds."""
        if self._inside:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._answered.wait()


class Crowd:
    """One sender's messages to one receiver that are under way, and those that wait for a place among them."""

    def __init__(self, most: int) -> None:
        self.pace = Pace(most)
        self.most = most
        self.alone = False  # no other sender is there
        self.inside = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.deaf = False  # the receiver has kept somebody waiting for nothing: nobody waits for a place then

    @property
    def room(self) -> bool:
        """Say whether there is a place."""
        return self.deaf or self.inside < (self.most if self.alone else self.pace.limit)

    async def enter(self, patience: float) -> None:
        """Take a place: at once, when there is one, or after `patience` seconds all the same."""
        if self.deaf or (self.room and not self.waiting):
            self.inside += 1
            return
        mine = asyncio.get_running_loop().create_future()
        self.waiting.append(mine)
        try:
            await asyncio.wait((mine,), timeout=patience)
        except BaseException:
            if mine.done():
                self.leave()
            else:
                self.waiting.remove(mine)
            raise
        if not mine.done():
            self.waiting.remove(mine)
            self.inside += 1

    def leave(self) -> None:
        """Give the place to whoever waits longest."""
        self.inside -= 1
        while self.waiting and self.room:
            self.inside += 1
            self.waiting.popleft().set_result(None)


class Crowds:
    """The crowds of this node."""

    def __init__(self, *, most: int = MOST, patience: float = WAIT) -> None:
        self._most = most
        self._patience = patience
        self._known: dict[tuple[str, Hashable], Crowd] = {}
        self._last: tuple[str, float] = ("", float("-inf"))  # who has come last, and when,
        self._before = float("-inf")  # and when somebody else came last before

    @contextlib.asynccontextmanager
    async def place(self, sender: str, receiver: Hashable) -> AsyncIterator[Heard]:
        """Have a place in a sender's crowd to a receiver for the block, which says whether an answer came."""
        key = (sender, receiver)
        crowd = self._known.get(key)
        if crowd is None:
            crowd = self._known[key] = Crowd(self._most)
        crowd.alone = self._is_alone(sender)
        await crowd.enter(self._patience)
        begun, heard = monotonic(), Heard()
        try:
            yield heard
        finally:
            now = monotonic()
            if heard.answer is not None:
                crowd.deaf = not heard.answer
            if heard.answer and not crowd.alone:  # of one who has as many under way as he likes nothing is learnt
                crowd.pace.took(now - begun, now)
            crowd.leave()
            if len(self._known) > KEPT and not crowd.inside:
                self._known.pop(key, None)

    def _is_alone(self, sender: str) -> bool:
        """Say whether nobody but `sender`, who comes now, has come for a while."""
        now, (last, at) = monotonic(), self._last
        if sender != last:
            self._before = at
        self._last = (sender, now)
        return now - self._before > BESIDE


class Heard:
    """Whether the receiver has answered, so that what it took says how busy it is; None when it was not asked."""

    answer: bool | None = None
