# SPDX-License-Identifier: MPL-2.0
"""
How many lanes the worker carries to one receiver at a time: as many as keep it busy, and no more.

More than that go through no faster. They wait in line, at the receiver or at this node's own processor, and so does
every caller behind them. How many wait in line is seen from outside: of so many under way, the share by which an
attempt took longer than the shortest one (Brakmo and Peterson, TCP Vegas, 1995). A receiver that is slow by itself has
no such share, and gets all that it may have.
"""

from __future__ import annotations

from typing import Final

LEAST: Final = 2  # lanes at a time, whatever it looks like
FEW: Final = 1.0  # in line: one more may be under way
MANY: Final = 2.0  # in line: one fewer
QUICK: Final = 0.05  # seconds; who answers within them has taken a handful of lanes within a second
SPAN: Final = 60.0  # seconds after which it is found out anew, from few on: what was the shortest once may be no more


class Pace:
    """The limit of one receiver, between LEAST and `most`; it learns from what each answered attempt took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = min(LEAST, most)
        self._limit = float(self._least)
        self._shortest = 0.0
        self._until: float | None = None
        self.quick = False  # the last attempt was answered at once

    @property
    def limit(self) -> int:
        """How many lanes may be under way."""
        return int(self._limit)

    def took(self, seconds: float, at: float) -> None:
        """Take in that an attempt was answered after so many seconds, at an instant of the machine's running time."""
        self.quick = seconds < QUICK
        if self._until is None or at >= self._until:
            self._limit, self._shortest, self._until = float(self._least), seconds, at + SPAN
        self._shortest = min(self._shortest, seconds)
        in_line = self._limit * (1 - self._shortest / seconds) if seconds > 0 else 0.0
        if in_line < FEW:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)
        elif in_line > MANY:
            self._limit = max(float(self._least), self._limit - 1 / self._limit)
