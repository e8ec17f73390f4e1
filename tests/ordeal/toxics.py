# SPDX-License-Identifier: MPL-2.0
"""
Every toxic on every leg of the gateway, in both directions, under every operation.

    PYTHONPATH=src:tests:. python -m ordeal.toxics [--leg NAME] [--toxic NAME] [--seed N]

While a toxic is on, senders send and look up. When it is gone everything must come to its end by itself: each message
applied once and in order, each look-up answered. The gateway must then hold no socket that leads nowhere and no thread
more than before; what a half-open connection has cost it must have given back within its own time limits.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ordeal.proxy import TOXICS, Proxy, Toxic, Way
from ordeal.street import LOOKUPS, Held, Street, say, verdict

HOLD = {"clients": 2.5, "receivers": 2.5, "database": 7.0}  # seconds that a toxic is on: longer than patience lasts
RESUMES = 60.0  # seconds within which everything has come to its end after it
QUIET = 120.0  # seconds within which the gateway has let go of what leads nowhere: longest is a kept connection, 75 s


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one toxic did."""

    leg: str
    toxic: str
    way: Way
    hit: int  # chunks and connections that it acted on
    missed: int  # attempts that got no receipt and look-ups that got no answer
    resumed: float  # seconds from its end until every message had its final receipt
    orphans: int  # sockets too many
    threads: int  # threads too many
    wrong: tuple[str, ...]

    HEAD = "leg        toxic       way   hit   unanswered  resumed s  sockets  threads  promise"

    def __str__(self) -> str:
        return (
            f"{self.leg:<10} {self.toxic:<11} {self.way:<5} {self.hit:>4}  {self.missed:>10}  {self.resumed:>9.1f}  "
            f"{self.orphans:>+7}  {self.threads:>+7}  {verdict(self.wrong, 'holds')}"
        )

    @property
    def held(self) -> bool:
        """Say whether nothing was lost, doubled, moved or kept."""
        return not self.wrong and self.orphans <= 0 and self.threads <= 0


class Trial:
    """One gateway, and what it holds when it is well."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self._sockets = self._threads = 0

    async def warm(self, *, rounds: int = 2) -> None:
        """See what the gateway holds before anybody calls; then let it make what it makes once: threads of its pools."""
        street = self.street
        await street.start_gateway()
        await asyncio.sleep(1.0)
        self._sockets = street.orphans()
        for _ in range(rounds):
            lanes, enough = street.letters(lanes=4, each=2), asyncio.Event()
            enough.set()
            await asyncio.gather(*map(street.deliver, lanes), *(street.look_up(name, enough) for name in LOOKUPS * 8))
            for proxy in (street.clients, *street.receivers):
                proxy.cut()
        await street.leave()
        self._threads = Held.of(street.pid).threads

    async def row(
        self, leg: str, toxic: Toxic, way: Way, *, lanes: int = 2, each: int = 3, hold: float | None = None
    ) -> Row:
        """Put a toxic on a leg for a while."""
        street = self.street
        proxies, _ = street.legs[leg]
        before = _acted(proxies)
        for proxy in proxies:
            await proxy.put(toxic, way)
        letters, enough = street.letters(lanes=lanes, each=each), asyncio.Event()
        asks = [asyncio.create_task(street.look_up(name, enough)) for name in LOOKUPS]
        sends = [asyncio.create_task(street.deliver(lane)) for lane in letters]
        await asyncio.sleep(HOLD[leg] if hold is None else hold)
        for proxy in proxies:
            await proxy.clear()
        gone = time.monotonic()
        enough.set()
        wrong = []
        _, late = await asyncio.wait([*sends, *asks], timeout=RESUMES)
        resumed = time.monotonic() - gone
        if late:
            wrong.append(f"{len(late)} senders had not come to their end after {RESUMES:g} s")
            for task in late:
                task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        wrong += await street.judge(letters)
        await street.leave()
        await street.until(lambda: street.orphans() == self._sockets, 20)
        every = [letter for lane in letters for letter in lane]
        return Row(
            leg=leg,
            toxic=toxic.name,
            way=way,
            hit=_acted(proxies) - before,
            missed=sum(told.code is None for letter in every for told in letter.told)
            + sum(ask.result() for ask in asks if ask not in late),
            resumed=resumed,
            orphans=street.orphans() - self._sockets,
            threads=Held.of(street.pid).threads - self._threads,
            wrong=tuple(wrong),
        )

    async def lets_go(self, leg: str) -> bool:
        """Say whether the gateway gives up every connection of a leg that swallows for ever, without being told."""
        proxies, own = self.street.legs[leg]

        def swallowing() -> int:
            return sum(
                not line.ended
                for proxy in proxies
                for one in proxy.connections
                if one.poisoned
                for line in one.lines
                if line.way is own
            )

        return await self.street.until(lambda: swallowing() == 0, QUIET)


def _acted(proxies: Sequence[Proxy]) -> int:
    return sum(number for proxy in proxies for what, number in proxy.count.items() if what != "connections")


async def run(legs: Sequence[str], toxics: Sequence[Toxic], seed: int) -> int:
    """Go through the table; give how many rows did not hold."""
    broken = 0
    with tempfile.TemporaryDirectory() as directory:
        async with Street(Path(directory), seed=seed) as street:
            trial = Trial(street)
            await trial.warm()
            say(Row.HEAD)
            for leg in legs:
                for toxic in toxics:
                    for way in Way:
                        row = await trial.row(leg, toxic, way)
                        broken += not row.held
                        say(row)
                begun = time.monotonic()
                let_go = await trial.lets_go(leg)
                broken += not let_go
                say(
                    f"{leg:<10} connections that lead nowhere: "
                    + (f"all given up, the last {time.monotonic() - begun:.0f} s later" if let_go else "KEPT")
                )
            await street.stop_gateway()
    return broken


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trial; 0 when the promise held everywhere."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # cut connections are what this is about
    names = {toxic.name: toxic for toxic in TOXICS}
    parser = argparse.ArgumentParser(prog="ordeal toxics", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--leg", action="append", choices=("clients", "receivers", "database"))
    parser.add_argument("--toxic", action="append", choices=tuple(names))
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    given = parser.parse_args(argv)
    say(f"seed {given.seed}")
    legs = given.leg or ("clients", "receivers", "database")
    broken = asyncio.run(run(legs, [names[name] for name in given.toxic or names], given.seed))
    say(f"{broken} rows did not hold" if broken else "the promise held in every row")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())
