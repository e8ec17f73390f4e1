# SPDX-License-Identifier: MPL-2.0
"""`python -m ordeal TRIAL`: one trial by its name, or `all`; an error when the promise did not hold."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

TRIALS = {
    "kills": "ordeal.cycles",
    "mutants": "ordeal.mutants",
    "failpoints": "ordeal.failpoints",
    "toxics": "ordeal.toxics",
    "failover": "ordeal.failover",
    "fulldisk": "ordeal.fulldisk",
    "exhausted": "ordeal.exhausted",
}
"""What there is: the module of each trial. Its `main(argv)` gives the exit code; its docstring says what it is."""


def trial(name: str) -> Callable[[Sequence[str]], int]:
    """Give a trial by its name."""
    found: Callable[[Sequence[str]], int] = import_module(TRIALS[name]).main
    return found


def run(name: str, argv: Sequence[str]) -> int:
    """Carry out a trial; what breaks it off is a failure of it, and not of those that come after."""
    sys.stdout.write(f"== {name}\n")
    sys.stdout.flush()
    try:
        return trial(name)(argv)
    except Exception:  # noqa: BLE001  the next trial is another one
        traceback.print_exc()
        return 1


def main(argv: Sequence[str]) -> int:
    """Carry out what the command line asks for."""
    if not argv or argv[0] not in {"all", *TRIALS}:
        sys.stderr.write(f"usage: python -m ordeal {{{'|'.join(['all', *TRIALS])}}} [options of the trial]\n")
        return 2
    if argv[0] != "all":
        return trial(argv[0])(argv[1:])
    came = {name: run(name, ()) for name in TRIALS}
    for name, code in came.items():
        sys.stdout.write(f"{name:12} {'held' if code == 0 else 'FAILED'}\n")
    return max(came.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
