# SPDX-License-Identifier: MPL-2.0
"""
Senders who keep to the contract, each at his own lane: the same message again until its receipt is final.

Some wait with the next message of a case until the one before is acknowledged, some do not. Some are content with G006,
some send twice at once, some never ask again: what they may count on is less, and the checker knows by whom.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from benchmarks.rig import SENDS, Told

from ordeal.history import History, kind
from ordeal.house import MUNICIPALITIES, House, Paper, parties
from ordeal.receiver import REFUSED, SLOW, UNREADABLE
from sygefravaer.contract.operations import OPERATIONS

AT_ONCE = 40  # lanes that are sent in at a time
AGAIN = (0.1, 0.4)  # seconds between two calls for one message when nobody knows
ASK = (0.4, 0.8, 1.6)  # seconds until a sender that holds G006 asks again; the contract's minute would only take long
LONGEST = 10  # messages in a lane


@dataclass(kw_only=True)
class Letter:
    """One message, and what its sender knows of it."""

    id: UUID
    lane: UUID
    seq: int
    orderly: bool
    habit: str
    municipality: str
    operation: str
    sender: str
    recipient: str
    body: bytes = field(repr=False)
    final: Told | None = None
    acknowledged: bool = False
    recipients: tuple[str, ...] = ()  # where else it may go, for a municipality that changes its system

    def about(self) -> dict[str, object]:
        """Give what the history says of it."""
        names = ("id", "lane", "seq", "orderly", "municipality", "operation", "sender", "recipient", "habit")
        about: dict[str, object] = {name: getattr(self, name) for name in names}
        return about | ({"recipients": self.recipients} if self.recipients else {})


def write(
    chance: Random, paper: Paper, messages: int, *, slow: float = 0.06, refused: float = 0.02
) -> list[list[Letter]]:
    """Write so many messages, in lanes."""
    lanes: list[list[Letter]] = []
    left = messages
    while left:
        length = min(left, chance.randint(1, LONGEST))
        left -= length
        lanes.append(_lane(chance, paper, length=length, number=len(lanes), slow=slow, refused=refused))
    return lanes


def _lane(chance: Random, paper: Paper, *, length: int, number: int, slow: float, refused: float) -> list[Letter]:
    orderly = chance.random() < 0.65
    unreadable = chance.randrange(length) if number % 40 == 39 else None
    taken = [UNREADABLE if seq == unreadable else _taken(chance, slow, refused) for seq in range(length)]
    habits = chance.choices(("steady", "trusting", "twin", "once"), (75, 13, 8, 0 if orderly else 6), k=length)
    return lane_of(
        chance,
        paper,
        operation=chance.choice(SENDS),
        municipality=chance.choice(MUNICIPALITIES),
        taken=taken,
        habits=habits,
        orderly=orderly,
    )


def lane_of(
    chance: Random,
    paper: Paper,
    *,
    operation: str,
    municipality: str,
    taken: Sequence[int],
    habits: Sequence[str],
    orderly: bool,
) -> list[Letter]:
    """Write a lane: how each message asks to be taken, and what its sender does."""
    lane = UUID(int=chance.getrandbits(128), version=4)
    sender, recipient = parties(operation, municipality)
    letters = []
    for seq, (how, habit) in enumerate(zip(taken, habits, strict=True)):
        besked_id = UUID(int=(chance.getrandbits(128) & ~0xFF) | how, version=4)
        letters.append(
            Letter(
                id=besked_id,
                lane=lane,
                seq=seq,
                orderly=orderly,
                habit=habit,
                municipality=municipality,
                operation=operation,
                sender=sender.name,
                recipient=recipient.name,
                body=paper.write(operation, municipality, besked_id=besked_id, lane=lane, sender=sender.system_id),
            )
        )
    return letters


def _taken(chance: Random, slow: float, refused: float) -> int:
    lot = chance.random()
    if lot < slow:
        return SLOW
    return REFUSED if lot < slow + refused else chance.randrange(0x80)


class Senders:
    """Sends what was written, and notes what it is told."""

    def __init__(
        self,
        house: House,
        history: History,
        chance: Random,
        *,
        passed: Callable[[], None] = lambda: None,
    ) -> None:
        self._house = house
        self._history = history
        self._chance = chance
        self._passed = passed  # called whenever a message leaves for the first time
        self.left = asyncio.Event()  # everything has been acknowledged, or will not be asked for again
        self.heard = 0  # calls that were answered
        self.rest = asyncio.Event()  # the gateway has nothing left to do: ask once more, and no more after that

    async def send(self, lanes: Sequence[Sequence[Letter]]) -> None:
        """Send every lane, some at a time; returns when every sender is content."""
        self.announce(lanes)
        turn = asyncio.Semaphore(AT_ONCE)
        asking: list[asyncio.Task[None]] = []

        async def one(lane: Sequence[Letter]) -> None:
            async with turn:
                if lane[0].orderly:
                    for letter in lane:
                        await self._acknowledged(letter)
                        asking.append(asyncio.create_task(self._until_final(letter)))
                else:
                    await asyncio.gather(*(self._acknowledged(letter) for letter in lane))
                    asking.extend(asyncio.create_task(self._until_final(letter)) for letter in lane)

        try:
            await asyncio.gather(*map(one, lanes))
            self.left.set()
            await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    def announce(self, lanes: Sequence[Sequence[Letter]]) -> None:
        """Write down what will be sent."""
        for lane in lanes:
            for letter in lane:
                self._history.write("letter", **letter.about())

    async def ask_again(self, letters: Sequence[Letter]) -> None:
        """Send messages once more whose receipts are final: they must not have changed."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(letter: Letter) -> None:
            async with turn:
                while (await self.post(letter, self._node())).code is None:
                    await asyncio.sleep(self._chance.uniform(*AGAIN))

        await asyncio.gather(*map(one, letters))

    async def post(self, letter: Letter, node: str) -> Told:
        """Make one call."""
        call = self._history.invoke(letter.id, node)
        operation = OPERATIONS[letter.operation]
        told = await self._house.send(node, letter.sender, operation, letter.body, recipient=letter.recipient)
        self._history.outcome(call, letter.id, told)
        self.heard += told.code is not None
        letter.acknowledged = letter.acknowledged or told.code is not None
        if told.final:
            letter.final = told
        return told

    async def _acknowledged(self, letter: Letter) -> None:
        """Send until it is acknowledged; where nobody knows, the same again, at another node."""
        self._passed()
        node = self._node()
        if letter.habit == "once":
            await self.post(letter, node)
            return
        if letter.habit == "twin":
            await asyncio.gather(*(self.post(letter, each) for each in self._house.nodes))
        while not letter.acknowledged:
            if kind(await self.post(letter, node)) == "unknown":
                node = self._node(besides=node)
                await asyncio.sleep(self._chance.uniform(*AGAIN))

    async def _until_final(self, letter: Letter) -> None:
        """Ask until the receipt is final, or until it will not become so by itself."""
        if letter.habit in {"once", "trusting"}:
            return
        asked = 0
        while letter.final is None:
            last = self.rest.is_set()
            if not last:
                await self._wait(ASK[min(asked, len(ASK) - 1)])
                last = self.rest.is_set()
            told = await self.post(letter, self._node())
            asked += 1
            if last and told.code is not None:
                return

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.rest.wait(), seconds)
        except TimeoutError:
            return

    def _node(self, besides: str = "") -> str:
        return self._chance.choice([name for name in self._house.nodes if name != besides] or self._house.nodes)
