# SPDX-License-Identifier: MPL-2.0
"""
What one does to the others: a receiver that is dead, and a sender that pours.

    python -m benchmarks.neighbours [--seconds 15] [--strict]

KSD sends to both jobcentres at a steady rate. Viborg is well, then takes everything and answers nothing, then refuses
connections; Aarhus' latencies are held against those of the same load while Viborg was well. Then Aarhus sends to KSD
at a steady rate, alone and while Viborg sends as fast as it is answered. Every part of a round begins with empty lanes
and nodes that know nothing of any receiver. What counts is the p99 over the calls of all rounds: the slowest hundredth
of one round is a handful of calls.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.figures import HEAD, Generator, Measured, Verdict, generated, judged, pooled, run, say, told
from benchmarks.stand import TO_JOBCENTER, TO_KSD, Stand
from sygefravaer.sandbox.parts import AARHUS

RATE = 50.0  # messages per second to each receiver, and of the single sender
DEAD_CONNECTIONS = 200  # callers who can wait for the dead one at a time: at 50/s they are used up in four seconds
BULK_CONNECTIONS = 16
ROUNDS = 3
SECONDS = 15.0  # of each part of a round
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
RECEIVERS = ("ksd", "viborg", "aarhus")
PARTS = (ALONE, WELL, SILENT, REFUSES, SINGLE, BESIDE)


async def measure(
    stand: Stand, seconds: float, *, rate: float = RATE, rounds: int = ROUNDS, parts: Sequence[str] = PARTS
) -> tuple[list[Measured], float]:
    """Give a line for each neighbour, and how many messages per second the bulk sender got through."""
    found: dict[str, list[dict]] = {}
    poured: list[dict] = []

    async def load(what: str, **job: object) -> None:
        found.setdefault(what, []).append(await generated(what, stand.directory, **job))

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
                await load(what, **one)
        await _viborg(stand, WELL)
        for what in (part for part in parts if part in SENDERS):
            await stand.reset()
            async with _beside(stand.directory, bulk if what == BESIDE else None) as pouring:
                await load(what, **single)
                if pouring is not None:
                    poured.append(await pouring.result())
    seconds_poured = sum(result["seconds"] for result in poured)
    pour = sum(result["calls"] for result in poured) / seconds_poured if poured else 0.0
    return [pooled(what, results) for what, results in found.items()], pour


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


def show(lines: list[Measured], poured: float) -> None:
    """Print what has been measured."""
    told(lines)
    print(f"{'the bulk sender that pours':58}{poured:10.0f}\n", flush=True)


async def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__.split("\n")[1])
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each part of a round ({SECONDS:.0f})")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is not reached")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sygefravaer-neighbours-") as name:
        async with Stand(Path(name) / "neighbours", receivers=RECEIVERS) as stand:
            lines, poured = await measure(stand, options.seconds)
    print(HEAD)
    show(lines, poured)
    return judged(judge(lines), strict=options.strict)


if __name__ == "__main__":
    run(main)
