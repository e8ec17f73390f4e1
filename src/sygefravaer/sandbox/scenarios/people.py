# SPDX-License-Identifier: MPL-2.0
"""Who plays: citizens for a story, by what the story wants of their numbers. No file holds a number."""

from __future__ import annotations

from collections.abc import Iterator

from sygefravaer.sandbox.citizens import RAISED_BY, Citizen, citizens, passes_check


class People:
    """Citizens for a story, the same for the same seed; none has two parts."""

    def __init__(self, seed: int) -> None:
        self._source: Iterator[Citizen] = citizens(seed)
        self._left: list[Citizen] = []

    def find(self, kind: str) -> str:
        """Give the number of one who fits."""
        if kind == "substitute":
            number = self.find("any")
            return f"{int(number[:2]) + RAISED_BY}{number[2:]}"
        for index, one in enumerate(self._left):
            if _fits(one, kind):
                return self._left.pop(index).cpr.reveal()
        while not _fits(one := next(self._source), kind):
            self._left.append(one)
        return one.cpr.reveal()


def _fits(one: Citizen, kind: str) -> bool:
    new_year = (one.born.month, one.born.day) == (1, 1)
    match kind:
        case "mod 11":
            return passes_check(one.cpr) and not new_year
        case "no mod 11":
            return not passes_check(one.cpr) and not new_year
        case "1 January":
            return new_year and not passes_check(one.cpr)
    return not new_year
