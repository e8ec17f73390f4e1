# SPDX-License-Identifier: MPL-2.0
"""What messages say about the record: each has the row of its acceptance, and one that ended has the row of its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sygefravaer.store import Tx

_LIMIT: Final = 1_000

# An end is dated when it is settled, so that one whose row retention has taken is not asked for. Two messages with one
# BeskedID vouch for each other; that is rare, and errs on the quiet side.
_UNRECORDED: Final = """
SELECT message_id FROM message
WHERE (%(since)s::timestamptz IS NULL OR accepted_at > %(since)s) AND NOT EXISTS (
    SELECT FROM audit WHERE event = 'message.accepted' AND besked_id = message.besked_id AND system = message.sender)
UNION
SELECT message_id FROM message
WHERE status IN ('delivered', 'refused', 'discarded')
AND (%(since)s::timestamptz IS NULL OR settled_at > %(since)s) AND NOT EXISTS (
    SELECT FROM audit WHERE besked_id = message.besked_id AND event = 'message.' || message.status)
ORDER BY message_id LIMIT %(limit)s"""

_HEARD_OF: Final = """
SELECT DISTINCT asked.audit_id FROM audit AS asked
LEFT JOIN rehashed ON rehashed.old = asked.cpr_key
JOIN message ON message.cpr_key = coalesce(rehashed.new, asked.cpr_key)
AND message.municipality_cvr = asked.municipality_cvr
AND message.accepted_at BETWEEN asked.at - %(before)s::interval AND asked.at + %(after)s::interval
WHERE asked.audit_id = ANY (%(rows)s)"""


async def unrecorded(tx: Tx, since: datetime | None) -> list[int]:
    """Find messages since an instant, or ever, whose acceptance or end is not in the record."""
    rows = await tx.all(_UNRECORDED, since=since, limit=_LIMIT)
    return [row["message_id"] for row in rows]


async def heard_of(tx: Tx, rows: Sequence[int], before: timedelta, after: timedelta) -> frozenset[int]:
    """Find, of these rows of look-ups, those of whose citizen a message has passed for the same municipality."""
    found = await tx.all(_HEARD_OF, rows=list(rows), before=before, after=after)
    return frozenset(row["audit_id"] for row in found)
