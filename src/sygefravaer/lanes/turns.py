# SPDX-License-Identifier: MPL-2.0
"""
Whose turn it is: who was served last, so that the next claim goes on after him.

Kept per process and not in the database: several nodes go round at their own pace, each fairly. A queue is a recipient
and a municipality. However much one of them has waiting, and however old it is, each of the others has its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sygefravaer.store import Row


class Turns:
    """Which recipient was served last, and which municipality of each."""

    def __init__(self) -> None:
        self._last = UUID(int=0)
        self._municipality: dict[UUID, str] = {}

    def asked(self) -> dict[str, object]:
        """Give what a claim asks for."""
        return {
            "last": self._last,
            "recipients": list(self._municipality),
            "municipalities": list(self._municipality.values()),
        }

    def had(self, rows: Sequence[Row]) -> None:
        """Note who was served, in the order in which it was."""
        for row in rows:
            self._last = row["recipient"]
            self._municipality[row["recipient"]] = row["municipality_cvr"]
