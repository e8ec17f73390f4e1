# SPDX-License-Identifier: MPL-2.0
"""A mark of the record that changes when something is written: for whoever follows, and needs not know what it was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sygefravaer.store import Tx

BACK: Final = 1_000
"""Numbers are taken before the commit: a row may come to be seen after so many with larger numbers have been."""

_MARK: Final = """
SELECT max(audit_id) AS last, count(*) AS number FROM audit
WHERE audit_id > (SELECT max(audit_id) FROM audit) - %(back)s
  AND (%(things)s::text[] IS NULL OR split_part(event, '.', 1) = ANY (%(things)s))"""


async def unsealed(tx: Tx) -> tuple[int, datetime | None]:
    """Count the rows that are not in the chain yet, and say since when the oldest of them waits."""
    row = await tx.one("SELECT count(*) AS number, min(at) AS oldest FROM audit WHERE seq IS NULL") or {}
    return row.get("number", 0), row.get("oldest")


async def mark(tx: Tx, things: Sequence[str] = ()) -> tuple[int, int]:
    """Give a mark that changes when a row is written that is about one of the `things`; about anything, without."""
    row = await tx.one(_MARK, back=BACK, things=list(things) or None) or {}
    return row.get("last") or 0, row.get("number") or 0
