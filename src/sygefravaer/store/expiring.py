# SPDX-License-Identifier: MPL-2.0
"""What retention finds and deletes: how much of a class, from when to when, and the digest of what is gone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

BATCH: Final = 2_000
"""Rows that are deleted in one transaction, with the row that proves it."""


@dataclass(frozen=True, kw_only=True)
class Expired:
    """What of a class is older than it may be."""

    what: str
    number: int
    first: datetime | None
    last: datetime | None

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "class": self.what,
            "number": self.number,
            "first": None if self.first is None else self.first.isoformat(),
            "last": None if self.last is None else self.last.isoformat(),
        }


def digest_of(rows: Iterable[bytes]) -> bytes:
    """Digest what is deleted, row by row: who has kept a copy can show that it is what was deleted, and nobody else."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(len(row).to_bytes(4, "big") + row)
    return digest.digest()
