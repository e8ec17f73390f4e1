# SPDX-License-Identifier: MPL-2.0
"""`python -m lifecycles`: many random lives, the rows they visited, and an error when one was never visited."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import memory_disk
from lifecycles import rows
from lifecycles.running import SEED, STEPS, Runs
from sygefravaer.sandbox.pki import Pki
from sygefravaer.store import EmbeddedServer


def main() -> int:
    """Live, and say what came of it."""
    ask = argparse.ArgumentParser(prog="lifecycles", description=__doc__)
    ask.add_argument("--runs", type=int, default=200)
    ask.add_argument("--steps", type=int, default=STEPS)
    ask.add_argument("--seed", type=int, default=SEED)
    ask.add_argument("--shrink", action="store_true", help="make a failing run smaller, which takes long")
    given = ask.parse_args()
    logging.disable(logging.WARNING)  # random acts are refused now and then
    with TemporaryDirectory(prefix="lives-") as place:
        server = EmbeddedServer(Path(place) / "database", state=memory_disk.place())
        asyncio.run(server.start())
        runs = Runs(
            progress=lambda told: sys.stderr.write(f"{told}\n"), server=server, pki=Pki(Path(place) / "pki").create()
        )
        try:
            runs.lives(given.runs, steps=given.steps, seed=given.seed, shrink=given.shrink)
        finally:
            sys.stdout.write(runs.report() + "\n")
            asyncio.run(server.remove())
    lacking = rows.missing(runs.found)
    for text in lacking:
        sys.stdout.write(f"never visited: {text}\n")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
