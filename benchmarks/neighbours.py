# SPDX-License-Identifier: MPL-2.0
"""
What one does to the others: a receiver that is dead, and a sender that pours.

KSD sends to both jobcentres at a steady rate. Viborg is well, then takes everything and answers nothing, then refuses
connections; Aarhus' latencies are held against those of the same load while Viborg was well. Then Aarhus sends to KSD
at a steady rate, alone and while Viborg sends as fast as it is answered. Every part of a round begins with empty lanes
and nodes that know nothing of any receiver; of several rounds the median counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.figures import Generator, Measured, Verdict, load, say
from benchmarks.stand import TO_JOBCENTER, TO_KSD, Stand
from sygefravaer.sandbox.parts import AARHUS

RATE = 50.0  # messages per second to each receiver, and of the single sender
DEAD_CONNECTIONS = 200  # callers who can wait for the dead one at a time: at 50/s they are used up in four seconds
BULK_CONNECTIONS = 16
ROUNDS = 3
LEAD = 1.0  # seconds that the neighbour has a start
MORE = 1.2  # a dead receiver raises the others' p99 to this at most
TWICE = 2.0  # a bulk sender raises a single sender's p99 to this at most

ALONE, WELL, SILENT, REFUSES = (
    "to Aarhus, nobody else",
    "to Aarhus, while Viborg is well",
    "to Aarhus, while Viborg is silent",
    "to Aarhus, while Viborg refuses",
)
SENDERS = SINGLE, BESIDE = "from Aarhus, nobody else", "from Aarhus, while Viborg pours"
PARTS = (ALONE, WELL, SILENT, REFUSES, SINGLE, BESIDE)


async def measure(
    stand: Stand, seconds: float, *, rate: float = RATE, rounds: int = ROUNDS, parts: Sequence[str] = PARTS
) -> tuple[list[Measured], float]:
    """Give a line for each neighbour, and how many messages per second the bulk sender got through."""
    found: dict[str, list[Measured]] = {}
    poured: list[float] = []
    at = {"seconds": seconds, "rate": rate}
    one = at | stand.job("ksd", TO_JOBCENTER, AARHUS)
    other = (
        at
        | stand.job("ksd", TO_JOBCENTER)
        | {
            "connections": DEAD_CONNECTIONS,
            "seconds": 600.0,
            "warm": False,
        }
    )
    single = at | stand.job("aarhus", TO_KSD, AARHUS)
    bulk = stand.job("viborg", TO_KSD) | {"connections": BULK_CONNECTIONS, "seconds": seconds + 2 * LEAD}
    for number in range(rounds):
        say(f"  round {number + 1} of {rounds}")
        for what in (part for part in parts if part not in SENDERS):
            await _viborg(stand, what)
            await stand.reset()
            async with _beside(stand.directory, None if what == ALONE else other):
                found.setdefault(what, []).append(await load(what, stand.directory, **one))
        await _viborg(stand, WELL)
        for what in (part for part in parts if part in SENDERS):
            await stand.reset()
            async with _beside(stand.directory, bulk if what == BESIDE else None) as pouring:
                found.setdefault(what, []).append(await load(what, stand.directory, **single))
                if pouring is not None:
                    result = await pouring.result()
                    poured.append(result["calls"] / result["seconds"])
    return [_median(what, lines) for what, lines in found.items()], median(poured) if poured else 0.0


def judge(lines: list[Measured]) -> list[Verdict]:
    """Hold it against the targets."""
    by_name = {line.what: line for line in lines}
    pairs = (
        ("another's p99 beside a silent receiver", SILENT, WELL, MORE),
        ("another's p99 beside one that refuses", REFUSES, WELL, MORE),
        ("a single sender's p99 beside a bulk sender", BESIDE, SINGLE, TWICE),
    )
    verdicts = []
    for what, with_it, without, most in pairs:
        factor = by_name[with_it].p99 / by_name[without].p99
        errors = by_name[with_it].errors
        verdicts.append(
            Verdict(
                what=what,
                found=f"{factor:.2f}x" + (f", {errors} errors" if errors else ""),
                wanted=f"at most {most}x",
                reached=factor <= most and not errors,
            )
        )
    return verdicts


async def _viborg(stand: Stand, what: str) -> None:
    await stand.stop_receiver("viborg")
    if what != REFUSES:
        await stand.start_receiver("viborg", "silent" if what == SILENT else "real")


@asynccontextmanager
async def _beside(directory: Path, job: dict | None) -> AsyncIterator[Generator | None]:
    """Let a neighbour send meanwhile."""
    if job is None:
        yield None
        return
    generator = Generator(directory, **job)
    await generator.start()
    try:
        await asyncio.sleep(LEAD)
        yield generator
    finally:
        await generator.end()


def _median(what: str, lines: list[Measured]) -> Measured:
    """Give the median of each figure, and all errors."""
    columns = {name: median(getattr(line, name) for line in lines) for name in ("rate", "p50", "p95", "p99")}
    return replace(lines[0], what=what, errors=sum(line.errors for line in lines), **columns)
