# SPDX-License-Identifier: MPL-2.0
"""
The 98 municipalities as a map of tiles: one square each, placed roughly as the municipalities lie.

The squares say which system a municipality has by letter, colour and pattern; the table beside the map says the same.
Where the squares stand is our own drawing (`data/kommunekort.csv`), not taken from any map.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import ascii_uppercase
from typing import Any, Final

from sygefravaer.contract.values import MUNICIPALITIES

SIDE: Final = 50  # of a tile with the gap beside it, in units of the drawing
STYLES: Final = 8  # of colour and pattern; the ninth system begins again, with a letter of its own
SHORT: Final = 6  # letters of a name that fit into a tile
NOBODY: Final = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A municipality on the map: where, by which letter and style, and what it has in words."""

    cvr: str
    name: str
    x: int
    y: int
    letter: str = NOBODY
    style: int | None = None
    system: str = ""

    @property
    def short(self) -> str:
        """Give the beginning of its name."""
        return self.name[:SHORT]


@dataclass(frozen=True, kw_only=True)
class System:
    """A system in the legend, and the municipalities that have it."""

    letter: str
    style: int
    name: str
    municipalities: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Map:
    """The tiles, and what their letters mean, the system of most municipalities first."""

    tiles: tuple[Tile, ...]
    systems: tuple[System, ...]
    without: tuple[str, ...]
    width: int
    height: int


@cache
def places() -> Mapping[str, tuple[int, int]]:
    """Give the column and the row of each municipality, by its CVR number."""
    text = resources.files("sygefravaer.admin").joinpath("data/kommunekort.csv").read_text("utf-8")
    by_code = {
        row["kommunekode"]: (int(row["kolonne"]), int(row["raekke"])) for row in csv.DictReader(text.splitlines())
    }
    return {cvr: by_code[one.kommunekode] for cvr, one in MUNICIPALITIES.items()}


def drawn(routes: Mapping[str, Mapping[str, Any]]) -> Map:
    """Draw the map of who has which system; `routes` are those that count, by municipality."""
    having: dict[tuple[str, str], list[str]] = {}
    for cvr, route in routes.items():
        having.setdefault((route["name"], route["system"]), []).append(cvr)
    order = sorted(having, key=lambda one: (-len(having[one]), one))
    letters = {system: _letter(number) for number, system in enumerate(order)}
    styles = {system: number % STYLES for number, system in enumerate(order)}
    tiles: list[Tile] = []
    for cvr, (column, row) in places().items():
        having_it = routes.get(cvr)
        system = None if having_it is None else (having_it["name"], having_it["system"])
        tiles.append(
            Tile(
                cvr=cvr,
                name=MUNICIPALITIES[cvr].navn,
                x=column * SIDE,
                y=row * SIDE,
                letter=NOBODY if system is None else letters[system],
                style=None if system is None else styles[system],
                system="" if system is None else system[0],
            )
        )
    return Map(
        tiles=tuple(sorted(tiles, key=lambda one: one.name)),
        systems=tuple(
            System(
                letter=letters[system],
                style=styles[system],
                name=system[0],
                municipalities=_names(having[system]),
            )
            for system in order
        ),
        without=_names([cvr for cvr in MUNICIPALITIES if cvr not in routes]),
        width=max(one.x for one in tiles) + SIDE,
        height=max(one.y for one in tiles) + SIDE,
    )


def _names(cvrs: list[str]) -> tuple[str, ...]:
    return tuple(sorted(MUNICIPALITIES[cvr].navn for cvr in cvrs))


def _letter(number: int) -> str:
    """Give A to Z, then A2 and on."""
    turn, place = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn + 1) if turn else "")
