# SPDX-License-Identifier: MPL-2.0
"""
How broad a run is: `make test` draws a part of what is many times the same by lot, `make thorough` leaves nothing out.

The lot is drawn anew in each run and is told at its beginning; `LOT=4711 make test` draws the same again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

THOROUGH: Final = os.environ.get("THOROUGH") == "1"
LOT: Final = os.environ.setdefault("LOT", str(secrets.randbelow(1_000_000)))  # other processes of the run draw the same


def some(items: Sequence[T], number: int, *, of: str) -> list[T]:
    """Give so many of these, in their order, or all in a thorough run; `of` says of what, so that lots differ."""
    if THOROUGH or number >= len(items):
        return list(items)
    return [items[place] for place in sorted(Random(f"{LOT}/{of}").sample(range(len(items)), number))]


def told() -> str:
    """Say how broad this run is."""
    return "breadth: all" if THOROUGH else f"breadth: some by lot; LOT={LOT} draws the same, make thorough takes all"
