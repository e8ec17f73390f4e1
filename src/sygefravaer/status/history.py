# SPDX-License-Identifier: MPL-2.0
"""The status record day by day: how available a service was on each Danish day, and how long answers took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.law import danish_date
from sygefravaer.status.record import Share, danish_share
from sygefravaer.store import Tx

DAYS: Final = 30

# A slot is as long as the round says, as in the record's own count; it belongs to the day on which it was measured.
_SHARES: Final = """
SELECT day, count(*) AS known, count(*) FILTER (WHERE down) AS down,
       count(*) FILTER (WHERE partial AND NOT down) AS partial
FROM (
    SELECT (r.at AT TIME ZONE 'Europe/Copenhagen')::date AS day, floor(extract(epoch FROM r.at) / r.every) AS slot,
           bool_or(p.outcome = 'down') AS down, bool_or(p.outcome = 'partial') AS partial,
           bool_or(p.outcome = 'unknown') AS unknown
    FROM probe_round r JOIN probe p USING (round_id)
    WHERE r.at > %(since)s AND r.at <= %(now)s AND p.service = %(service)s
    GROUP BY day, slot
) AS slots
WHERE down OR partial OR NOT unknown
GROUP BY day"""
_TIMES: Final = """
SELECT (r.at AT TIME ZONE 'Europe/Copenhagen')::date AS day,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY p.millis) AS times
FROM probe_round r JOIN probe p USING (round_id)
WHERE r.at > %(since)s AND r.at <= %(now)s AND p.service = %(service)s AND p.outcome IN ('up', 'partial')
  AND p.millis IS NOT NULL AND p.operation = ANY (%(operations)s)
GROUP BY day"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """One day: in how many measured slots the service was down or partly so, and p50, p95, p99 of its look-ups."""

    day: date
    share: Share
    times: tuple[int, int, int] | None

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        p50, p95, p99 = self.times or (None, None, None)
        return {
            "dag": self.day.isoformat(),
            "oppetid": danish_share(self.share.permille),
            "known": self.share.known,
            "down": self.share.down,
            "partial": self.share.partial,
            "svartid": None if self.times is None else {"p50": p50, "p95": p95, "p99": p99},
        }


async def history(tx: Tx, service: Service, *, now: datetime, days: int = DAYS) -> list[Day]:
    """
    Tell the last days, today first; a day on which nobody measured has nothing known.

    Times are those of the look-ups, and of a service without any, of what else was measured.
    """
    own = [name for name, one in OPERATIONS.items() if one.service is service]
    lookups = [name for name in own if OPERATIONS[name].lookup]
    since = now - timedelta(days=days)
    about: dict[str, Any] = {"since": since, "now": now, "service": service.value}
    shares = {row["day"]: row for row in await tx.all(_SHARES, **about)}
    times = {row["day"]: tuple(row["times"]) for row in await tx.all(_TIMES, operations=lookups or own, **about)}
    found = []
    for back in range(days):
        day = danish_date(now) - timedelta(days=back)
        row = shares.get(day, {"known": 0, "down": 0, "partial": 0})
        share = Share(slots=row["known"], known=row["known"], down=row["down"], partial=row["partial"])
        found.append(Day(day=day, share=share, times=times.get(day)))
    return found
