# SPDX-License-Identifier: MPL-2.0
"""Who did something, as the record names him."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A user, by his id, and the organisation he acted for; of a command its `--who`, and the operator."""

    user: str
    organisation: str

    def plain(self) -> dict[str, object]:
        """Give the head of a row's detail."""
        return {"by": self.user, "organisation": self.organisation}
