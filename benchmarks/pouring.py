# SPDX-License-Identifier: MPL-2.0
"""
The sender of the soak, in a process of its own: numbered messages, some twice, some out of order, all until final.

    python -m benchmarks.pouring JOB.json

The job names run (32 bits that the ids begin with), messages, duplicates and reordered (shares), seed, connections,
text, path, certificate, key, ca, and the ports of the nodes, which are used in turn. What gets no final receipt is
posted again, byte for byte, to the next node, as the contract asks of a sender. Half of the duplicates go out right
behind the first copy, the others when it is long final; all copies must get the same bytes. Prints a line of JSON
about once a second and at the end.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import random
import re
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.load import Connection

LANES = 200  # lanes that are filled at the same time,
DEPTH = 10  # with so many messages each
AGAIN = 1.0  # seconds until a message without a final receipt is posted again
DIGITS = 12  # at the end of an id: its number
_CODE = re.compile(rb"TransportValideringsKode>(\w+)<")


def besked_id(run: int, number: int) -> str:
    """Give the BeskedID of a message; the number can be read out of it."""
    return f"{run:08x}-0000-4000-8000-{number:012x}"


def lane(run: int, number: int) -> str:
    """Give the NemrefusionsID of a message: LANES messages go to lanes of their own, the next LANES follow in them."""
    block, place = divmod(number, LANES * DEPTH)
    return f"{run:08x}-0000-4000-9000-{block * LANES + place % LANES:012x}"


def order(messages: int, *, duplicates: float, reordered: float, chance: random.Random) -> Iterator[tuple[int, bool]]:
    """Give the numbers in the order in which they are sent, and whether one is a copy of an earlier one."""
    late: list[int] = []
    for first in range(0, messages, LANES * DEPTH):
        numbers = list(range(first, min(first + LANES * DEPTH, messages)))
        swaps = len(numbers) * reordered / 2
        for _ in range(int(swaps) + (chance.random() < swaps % 1)):
            if len(numbers) > LANES:  # with the next one of its lane
                place = chance.randrange(len(numbers) - LANES)
                numbers[place], numbers[place + LANES] = numbers[place + LANES], numbers[place]
        copies = len(numbers) * duplicates
        twice = set(chance.sample(numbers, int(copies) + (chance.random() < copies % 1)))
        at_once = {number for number in twice if chance.random() < 0.5}
        for number in numbers:
            yield number, False
            if number in at_once:
                yield number, True
        for number in late:
            yield number, True
        late = sorted(twice - at_once)
    for number in late:
        yield number, True


@dataclass(kw_only=True)
class Told:
    """What has been found so far."""

    final: int = 0
    copies: int = 0
    repeats: int = 0
    refused: int = 0
    differing: int = 0
    waiting: int = 0
    seconds: float = 0.0


@dataclass(order=True, kw_only=True)
class Item:
    """One message to post, due at a time."""

    due: float
    number: int
    copy: bool = field(compare=False)
    node: int = field(compare=False)
    body: bytes = field(compare=False, repr=False)


class Pouring:
    """One run."""

    def __init__(self, job: dict) -> None:
        self.job = job
        self.told = Told()
        self._text = job["text"]
        self._tls = ssl.create_default_context(cafile=job["ca"])
        self._tls.load_cert_chain(job["certificate"], job["key"])
        self._next = order(
            job["messages"],
            duplicates=job["duplicates"],
            reordered=job["reordered"],
            chance=random.Random(job["seed"]),
        )
        again = order(  # who will be sent twice: what they were told is kept until then
            job["messages"],
            duplicates=job["duplicates"],
            reordered=job["reordered"],
            chance=random.Random(job["seed"]),
        )
        self._copied = {number for number, copy in again if copy}
        self._bodies: dict[int, bytes] = {}
        self._receipts: dict[int, list[bytes]] = {}
        self._again: list[Item] = []
        self._open = 0
        self._turn = 0

    async def run(self) -> None:
        """Send everything, and repeat until everything is final."""
        begin = time.perf_counter()

        async def tell() -> None:
            while True:
                await asyncio.sleep(1.0)
                self._say(begin)

        telling = asyncio.create_task(tell())
        await asyncio.gather(*(self._work() for _ in range(self.job["connections"])))
        telling.cancel()
        self._say(begin)

    def _say(self, begin: float) -> None:
        self.told.seconds = time.perf_counter() - begin
        self.told.waiting = len(self._again)
        print(json.dumps(vars(self.told)), flush=True)

    async def _work(self) -> None:
        connections = [Connection(self.job | {"port": port}, self._tls) for port in self.job["ports"]]
        while (item := self._take()) is not None or self._open:
            if item is None:
                await asyncio.sleep(0.05)
                continue
            await self._post(item, connections[item.node % len(connections)])
        for connection in connections:
            connection.close()

    def _take(self) -> Item | None:
        if self._again and self._again[0].due <= time.perf_counter():
            return heapq.heappop(self._again)
        found = next(self._next, None)
        if found is None:
            return None
        number, copy = found
        self._open += 1
        self._turn += 1
        body = self._bodies.get(number) or self._body(number)
        if number in self._copied:
            self._bodies[number] = body
        return Item(due=0.0, number=number, copy=copy, node=self._turn, body=body)

    def _body(self, number: int) -> bytes:
        run = self.job["run"]
        text = self._text.replace("{uuid}", besked_id(run, number)).replace("{lane}", lane(run, number))
        return text.replace("{now}", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")).encode()

    async def _post(self, item: Item, connection: Connection) -> None:
        try:
            good, answer = await connection.post(item.body)
        except (OSError, RuntimeError):
            connection.close()
            good, answer = False, b""
        code = _CODE.search(answer)
        if not good or code is None or b"G006" in answer:
            item.due, item.node = time.perf_counter() + AGAIN, item.node + 1
            heapq.heappush(self._again, item)
            self.told.repeats += 1
            return
        self._open -= 1
        self.told.refused += code[1] != b"OK"
        if item.copy:
            self.told.copies += 1
        else:
            self.told.final += 1
        if item.number in self._copied:
            kept = self._receipts.setdefault(item.number, [])
            kept.append(answer)
            if len(kept) == 2:
                self.told.differing += kept[0] != kept[1]
                del self._receipts[item.number], self._bodies[item.number]


def main() -> None:
    """Run the job named on the command line."""
    uvloop.run(Pouring(json.loads(Path(sys.argv[1]).read_text("utf-8"))).run())


if __name__ == "__main__":
    main()
