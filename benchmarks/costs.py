# SPDX-License-Identifier: MPL-2.0
"""
What one message costs each process: processor time, which does not depend on what else the machine has to do.

    python -m benchmarks.costs [--messages 2000] [--rate 40]

A gateway node, its receiver and PostgreSQL as in `make bench`; messages come at a rate that leaves the machine idle in
between, and then as fast as one sender with eight connections is answered, which shares wake-ups and flushes. The sum
is what decides how many messages per second so many processors carry at most.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Generator, run, say
from benchmarks.stand import TO_KSD, Stand

MESSAGES = 2000
RATE = 40.0  # messages per second
WARM = 200  # messages before anything is counted
SENDER = "sender"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What so many messages cost: milliseconds of processor time for each, by process."""

    what: str
    messages: int
    spent: dict[str, float]

    @property
    def all(self) -> float:
        """The sum of them."""
        return sum(self.spent.values())


async def measure(stand: Stand, messages: int = MESSAGES, rate: float = RATE, *, warm: int = WARM) -> list[Cost]:
    """Give the costs at a rate, and of a sender that asks as soon as it is answered."""
    await _spent(stand, "warming up", seconds=warm / rate, rate=rate)
    return [
        await _spent(stand, f"at {rate:.0f}/s", seconds=messages / rate, rate=rate),
        await _spent(stand, "8 connections", seconds=messages / 100),
    ]


def show(costs: list[Cost]) -> None:
    """Print a column for each, in milliseconds per message."""
    names = sorted({name for cost in costs for name in cost.spent})
    print(f"{'ms of processor time per message':40}" + "".join(f"{cost.what:>16}" for cost in costs))
    for name in names:
        print(f"{name:40}" + "".join(f"{cost.spent.get(name, 0.0):16.2f}" for cost in costs))
    print(f"{'all':40}" + "".join(f"{cost.all:16.2f}" for cost in costs))
    print(f"{'messages':40}" + "".join(f"{cost.messages:16}" for cost in costs))


async def _spent(stand: Stand, what: str, **job: float) -> Cost:
    say(f"  {what}")
    before = await _used(stand)
    generator = Generator(stand.directory, **stand.job("viborg", TO_KSD), **job)
    await generator.start()
    found = await generator.result()
    await stand.quiet()
    after = await _used(stand)
    if found["errors"]:
        raise RuntimeError(f"{found['errors']} messages were not answered 200")
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()} | {SENDER: found["cpu"]}
    return Cost(
        what=what,
        messages=found["calls"],
        spent={name: seconds * 1000 / found["calls"] for name, seconds in spent.items()},
    )


async def _used(stand: Stand) -> Counter[str]:
    """Give the seconds that every process of the stand has used so far."""
    used: Counter[str] = Counter()
    for name, pid in stand.processes().items():
        used[name] += _processor(pid)
    for pid, name in await stand.ask(
        "SELECT pid, coalesce(nullif(application_name, ''), backend_type) FROM pg_stat_activity"
    ):
        if name.startswith("sygefravaer ") or not name[:1].isupper():
            used[f"postgresql, {name}"] += _processor(pid)
    return used


def _processor(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__.split("\n")[1])
    parser.add_argument(
        "--messages", type=int, default=MESSAGES, help=f"how many messages come at the rate ({MESSAGES})"
    )
    parser.add_argument("--rate", type=float, default=RATE, help=f"messages per second ({RATE:.0f})")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sygefravaer-costs-") as name:
        async with Stand(Path(name) / "costs") as stand:
            show(await measure(stand, options.messages, options.rate))
    return 0


if __name__ == "__main__":
    run(main)
