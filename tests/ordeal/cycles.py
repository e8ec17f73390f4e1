# SPDX-License-Identifier: MPL-2.0
"""
Kill cycles: messages through two nodes while nodes, receivers and the database are killed and stopped; then the checker.

    python -m ordeal kills [--cycles 200] [--messages 500] [--seed N] [--logs DIR] [--first N]

One line per cycle, a summary, and an error when the promise did not hold once. What was done and told, and what both
sides held at the end, is kept in DIR; a cycle is run again by its seed and number (`--first N --cycles 1`), though no two
runs meet the same instant.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import logging
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from ordeal import checker, dump
from ordeal.history import History
from ordeal.house import MOVERS, RANDERS, RECEIVERS, House, Paper
from ordeal.nemesis import Nemesis, plan
from ordeal.senders import Letter, Senders, write
from sygefravaer.sandbox.parts import SYSTEMS

SEED = 20260302
END = 90.0  # seconds without any progress after which a cycle is over, whatever is left
LOOK = 0.1  # seconds between looks whether it is over
CALM = 3  # looks in a row at which nothing is left to do: a call that was frozen may still be on its way in
KEPT = 4  # messages of each cycle whose receipt is asked for again in later ones
REMEMBERED = 40
SHOWN = 5  # violations of a cycle; the rest stands in its verdict


@dataclass(kw_only=True)
class Row:
    """What one cycle came to."""

    number: int
    seed: str
    seconds: float
    nemesis: Nemesis
    verdict: checker.Verdict
    died: int  # starts that ended by themselves

    def __str__(self) -> str:
        """Say it in a line."""
        ends, done = self.verdict.counts, self.nemesis.done
        deeds = ", ".join(f"{deed} x{number}" if number > 1 else deed for deed, number in sorted(done.items()))
        return (
            f"cycle {self.number:3} seed {self.seed}: {self.nemesis.kills} kills, {self.nemesis.in_flight} in flight"
            f" ({deeds}); {self.verdict.messages} messages: ok {ends['ok']}, refused {ends['refused']},"
            f" stored {ends['stored']}, parked {ends['parked']}, unknown {ends['unknown']};"
            f" {self.seconds:.1f} s; {'holds' if self.verdict.holds else 'BROKEN'}"
        )


@dataclass(kw_only=True)
class Cycles:
    """Cycles in one house."""

    house: House
    seed: str
    logs: Path
    end: float = END
    paper: Paper = field(default_factory=Paper)
    known: list[Letter] = field(default_factory=list)  # of earlier cycles, with their final receipts
    open: list[Letter] = field(default_factory=list)  # of the last cycle, that may still arrive

    async def cycle(self, number: int, messages: int) -> Row:
        """Run one cycle and judge it."""
        chance = Random(f"{self.seed}/{number}")
        begun = time.monotonic()
        history_path, dump_path = (self.logs / f"cycle-{number:04}.{kind}.jsonl" for kind in ("history", "dump"))
        dsn = self.house.server.superuser_dsn()
        since = await asyncio.to_thread(dump.marks, dsn, RECEIVERS)
        lanes = write(chance, self.paper, messages)
        letters = [letter for lane in lanes for letter in lane]
        with History(history_path) as history:
            head(history, self.house, seed=self.seed, number=number)
            again = chance.sample(self.known, min(len(self.known), KEPT))
            for letter in again:
                self._before(history, letter)
            for letter in self.open:
                history.write("before", id=letter.id)
            nemesis = Nemesis(self.house, history, plan(chance, messages, self.house.nodes))
            senders = Senders(self.house, history, chance, passed=nemesis.passed)
            sending = asyncio.create_task(senders.send(lanes))
            quiet = await self._until_quiet(sending, nemesis, senders)
            self.house.see_all_alive()
            final = [letter for letter in letters if letter.final is not None]
            if quiet:
                await senders.ask_again([*again, *chance.sample(final, len(final) // 10)])
            history.write("end", quiet=quiet)
        await asyncio.to_thread(dump.take, dsn, dump_path, since, RECEIVERS)
        verdict = checker.check(checker.read(history_path), checker.read(dump_path))
        self.known = [*self.known, *chance.sample(final, min(KEPT, len(final)))][-REMEMBERED:]
        self.open = [letter for letter in letters if letter.habit == "once" and not letter.acknowledged]
        self._put_away(history_path, dump_path, verdict)
        seconds, died = time.monotonic() - begun, len(self.house.died)
        self.house.died.clear()
        return Row(number=number, seed=self.seed, seconds=seconds, nemesis=nemesis, verdict=verdict, died=died)

    def _before(self, history: History, letter: Letter) -> None:
        history.write("before", id=letter.id, receipt=receipt_of(letter))

    async def _until_quiet(self, sending: asyncio.Task[None], nemesis: Nemesis, senders: Senders) -> bool:
        """Wait until all has left, is mended, and the gateway has nothing left to do; False if it never has."""
        dsn = self.house.server.superuser_dsn()
        mending: asyncio.Task[None] | None = None
        seen: object = None
        at, calm = time.monotonic(), 0
        while calm < CALM and time.monotonic() - at < self.end:
            await asyncio.sleep(LOOK)
            if sending.done() and sending.exception() is not None:
                sending.result()
            if mending is None and senders.left.is_set():
                mending = asyncio.create_task(nemesis.over())
            if mending is None or not mending.done():
                now: object = senders.heard
            else:
                mending.result()
                now = await asyncio.to_thread(dump.unsettled, dsn)
                calm = calm + 1 if now[0] == 0 else 0
            if now != seen:
                seen, at = now, time.monotonic()
        if mending is not None:
            await mending
        senders.rest.set()
        await asyncio.wait((sending,), timeout=self.end)
        if not sending.done():
            sending.cancel()
            await asyncio.wait((sending,))
            return False
        sending.result()
        return calm >= CALM

    def _put_away(self, history: Path, dumped: Path, verdict: checker.Verdict) -> None:
        if verdict.holds:
            for path in (history, dumped):
                pack(path)
            return
        shown = history.with_suffix("").with_suffix(".verdict.txt")
        shown.write_text("\n\n".join(map(str, verdict.violations)) + f"\n\n{verdict}\n", encoding="utf-8")


def head(history: History, house: House, *, seed: str, number: int) -> None:
    """Begin a history."""
    history.write(
        "cycle",
        seed=seed,
        number=number,
        lease=house.lease,
        systems={spec.name: spec.system_id for spec in SYSTEMS},
        receives={
            spec.name: (*spec.municipalities, RANDERS) if spec.name in MOVERS else spec.municipalities
            for spec in SYSTEMS
        },
    )


def receipt_of(letter: Letter) -> str:
    """Give what the history says of a final receipt."""
    return hashlib.sha256(letter.final.raw).hexdigest()


def pack(path: Path) -> None:
    """Keep a file, but small."""
    with path.open("rb") as file, gzip.open(f"{path}.gz", "wb", compresslevel=5) as packed:
        shutil.copyfileobj(file, packed)
    path.unlink()


def summary(rows: Sequence[Row]) -> str:
    """Say what all cycles came to."""
    rules = Counter(violation.rule for row in rows for violation in row.verdict.violations)
    kills, hits = (sum(getattr(row.nemesis, name) for row in rows) for name in ("kills", "in_flight"))
    deeds: Counter[str] = sum((row.nemesis.done for row in rows), Counter())
    ends: Counter[str] = sum((row.verdict.counts for row in rows), Counter())
    named = {"lost": "lost", "double": "double", "order": "out of order", "crossing": "across municipalities"}
    found = ", ".join(f"{rules[rule]} {text}" for rule, text in named.items())
    others = ", ".join(f"{rules[rule]} {rule}" for rule in checker.RULES if rule not in named)
    ended = ", ".join(f"{end} {number}" for end, number in sorted(ends.items()))
    did = ", ".join(f"{deed} {number}" for deed, number in sorted(deeds.items()))
    messages, applied = (sum(getattr(row.verdict, name) for row in rows) for name in ("messages", "applied"))
    lines = (
        f"{len(rows)} cycles, {messages} messages ({ended}), {applied} applied",
        f"{kills} kills, {hits} with a message in flight ({100 * hits // max(1, kills)} %); {did}",
        f"starts that ended by themselves: {sum(row.died for row in rows)}",
        f"{found}; {others}",
    )
    return "\n".join(lines)


async def run(given: argparse.Namespace, place: Path, logs: Path) -> list[Row]:
    """Run the cycles that were asked for."""
    rows = []
    async with House(directory=place / "house") as house:
        cycles = Cycles(house=house, seed=str(given.seed), logs=logs)
        for number in range(given.first, given.first + given.cycles):
            row = await cycles.cycle(number, given.messages)
            rows.append(row)
            sys.stdout.write(f"{row}\n")
            for violation in row.verdict.violations[:SHOWN]:
                sys.stdout.write(f"  {violation.rule}: {violation.id}: {violation.text}\n")
            sys.stdout.flush()
    return rows


def main(argv: Sequence[str]) -> int:
    """Run kill cycles."""
    ask = argparse.ArgumentParser(prog="python -m ordeal kills", description=__doc__)
    ask.add_argument("--cycles", type=int, default=200)
    ask.add_argument("--messages", type=int, default=500)
    ask.add_argument("--seed", default=SEED)
    ask.add_argument("--first", type=int, default=1, help="number of the first cycle")
    ask.add_argument("--logs", type=Path, help="where histories and dumps are kept")
    given = ask.parse_args(argv)
    logs = given.logs or Path(f"ordeal-{given.seed}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    logs.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)  # what a killed process leaves behind
    with TemporaryDirectory(prefix="ordeal-") as place:
        rows = asyncio.run(run(given, Path(place), logs))
    sys.stdout.write(f"{summary(rows)}\nto judge what was kept once more: python tests/ordeal/checker.py {logs}\n")
    few = 3 * sum(row.nemesis.in_flight for row in rows) < sum(row.nemesis.kills for row in rows)
    if few:
        sys.stdout.write("too few kills met a message in flight\n")
    return int(few or not all(row.verdict.holds for row in rows))
