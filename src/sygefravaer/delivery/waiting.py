# SPDX-License-Identifier: MPL-2.0
"""What waits, counted: what is owed by each municipality, and how each receiver's queue stands. Nobody's messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sygefravaer.delivery.obligations import OWED
from sygefravaer.store import Tx

_OWED: Final = f"""
SELECT debt.municipality_cvr, count(*) FILTER (WHERE kind = 'unanswered_sf2090') AS events,
       count(*) FILTER (WHERE kind = 'unanswered_sf2093') AS extensions,
       count(*) FILTER (WHERE kind = 'unheard') AS unheard, count(*) FILTER (WHERE due <= %(now)s) AS overdue,
       min(since) AS oldest, array_agg(DISTINCT coalesce(system.name, owner::text)) AS systems
FROM ({OWED}) AS debt LEFT JOIN system ON system.system_id = debt.owner
WHERE %(cvr)s::text IS NULL OR debt.municipality_cvr = %(cvr)s OR system.vendor_cvr = %(cvr)s
GROUP BY debt.municipality_cvr ORDER BY oldest, debt.municipality_cvr"""

_QUEUES: Final = """
SELECT message.recipient, system.name, count(*) AS messages, count(DISTINCT message.lane_id) AS lanes,
       min(message.accepted_at) AS oldest, max(message.failures) AS failures,
       min(message.first_attempt_at) FILTER (WHERE message.failures > 0) AS silent_since,
       min(lane.next_at) FILTER (WHERE message.failures > 0) AS next_at
FROM message JOIN lane ON lane.lane_id = message.lane_id LEFT JOIN system ON system.system_id = message.recipient
WHERE message.status IN ('queued', 'sending', 'parked') AND message.status <> 'parked'
  AND (%(cvr)s::text IS NULL OR message.municipality_cvr = %(cvr)s OR system.vendor_cvr = %(cvr)s)
GROUP BY message.recipient, system.name ORDER BY oldest, message.recipient"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owing:
    """What the systems of a municipality owe: answers to SF2090 and SF2093, and ends that nobody has heard of."""

    municipality_cvr: str
    events: int
    extensions: int
    unheard: int
    overdue: int
    oldest: datetime
    systems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """
    What waits for one receiver, parked messages left out.

    `silent_since`: the first attempt of the oldest message that has been tried in vain, None when none has;
    `next_at` is then the next one.
    """

    recipient: UUID
    name: str | None
    messages: int
    lanes: int
    oldest: datetime
    failures: int
    silent_since: datetime | None
    next_at: datetime | None


async def owing(tx: Tx, *, cvr: str | None = None, now: datetime) -> list[Owing]:
    """
    Count what is owed by municipality, the oldest debt first.

    With a CVR number: what that municipality, or the systems of that vendor, owe.
    """
    rows = await tx.all(_OWED, cvr=cvr, now=now)
    return [Owing(**{**row, "systems": tuple(row["systems"])}) for row in rows]


async def queues(tx: Tx, *, cvr: str | None = None) -> list[Queue]:
    """Count what waits by receiver, the oldest message first; with a CVR number as in `owing`."""
    return [Queue(**row) for row in await tx.all(_QUEUES, cvr=cvr)]
