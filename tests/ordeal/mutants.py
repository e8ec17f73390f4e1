# SPDX-License-Identifier: MPL-2.0
"""
Planted faults: each must be found by the checker, under the ordinary kill cycles, within a few of them.

    python -m ordeal mutants [--cycles 12] [--messages 300] [--seed N] [--only NAME]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ordeal.cycles import SEED, Cycles
from ordeal.house import House
from ordeal.mutant import MUTANTS

CYCLES = 12  # within which each must be found
MESSAGES = 300
END = 12.0  # seconds without progress: what a fault has left standing will not move again


async def found(
    house: House, name: str, logs: Path, *, seed: str, cycles: int, messages: int
) -> tuple[int, Counter[str]]:
    """Run cycles with a fault until one of its rules is broken; give that cycle's number (0: none) and the breaches."""
    mutant = MUTANTS[name]
    await house.infect({mutant.task: name})
    runs = Cycles(house=house, seed=f"{seed}/{name}", logs=logs, end=END)
    for number in range(1, cycles + 1):
        row = await runs.cycle(number, messages)
        rules = Counter(violation.rule for violation in row.verdict.violations)
        if mutant.rules & rules.keys():
            return number, rules
    return 0, Counter()


async def _alone(name: str, place: Path, given: argparse.Namespace) -> tuple[int, Counter[str]]:
    """Look for a fault in a house of its own: some leave behind what will not end."""
    async with House(directory=place / "house") as house:
        return await found(house, name, place, seed=given.seed, cycles=given.cycles, messages=given.messages)


def main(argv: Sequence[str]) -> int:
    """Plant every fault, one after the other."""
    ask = argparse.ArgumentParser(prog="python -m ordeal mutants", description=__doc__)
    ask.add_argument("--cycles", type=int, default=CYCLES)
    ask.add_argument("--messages", type=int, default=MESSAGES)
    ask.add_argument("--seed", default=SEED)
    ask.add_argument("--only", choices=MUTANTS)
    given = ask.parse_args(argv)
    logging.disable(logging.WARNING)
    missed = 0
    for name in [given.only] if given.only else MUTANTS:
        with TemporaryDirectory(prefix="ordeal-") as place:
            number, rules = asyncio.run(_alone(name, Path(place), given))
        missed += not number
        told = f"found in cycle {number}: " + ", ".join(f"{rule} {times}" for rule, times in sorted(rules.items()))
        sys.stdout.write(f"{name:22} {MUTANTS[name].text}: {told if number else 'NOT FOUND'}\n")
        sys.stdout.flush()
    return 1 if missed else 0
