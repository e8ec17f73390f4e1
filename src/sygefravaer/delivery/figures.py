# SPDX-License-Identifier: MPL-2.0
"""How the platform stands, in figures: what has not ended, what is owed, what is not sealed, what will end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from sygefravaer import audit, lanes
from sygefravaer.agreements import certificates
from sygefravaer.clock import Clock
from sygefravaer.contract.operations import Environment
from sygefravaer.delivery import obligations
from sygefravaer.delivery.carrying import Delivery
from sygefravaer.store import Store
from sygefravaer.telemetry.figures import Look

SOON: Final = timedelta(days=60)  # how long before its end a certificate is looked at


def look_of(carrier: Delivery, store: Store, clock: Clock, environment: Environment) -> Look:
    """Make the look at how the platform stands."""

    async def look() -> Mapping[str, float | Mapping[str, float]]:
        now, machine = clock.now(), datetime.now(UTC)
        counts, standing = await carrier.counts(), await carrier.standing()
        async with store.read() as tx:
            oldest = await lanes.Lanes().oldest(tx)
            owed = await obligations.sums(tx, now=now)
            unsealed, since = await audit.unsealed(tx)
            ending = await certificates.ending(tx, environment=environment, within=SOON, now=now, machine=machine)
        first = min((one.days for one in ending if not one.renewed), default=SOON.days)
        return {
            "messages": counts,
            "oldest_seconds": _seconds(oldest, now),
            "obligations": {kind.value: number for kind, (number, _) in owed.items()},
            "obligations_overdue": {kind.value: number for kind, (_, number) in owed.items()},
            "audit_unsealed": unsealed,
            "audit_unsealed_seconds": _seconds(since, now),
            "certificate_days": first,
            "in_flight": standing.in_flight,
            "parked": standing.parked,
        }

    return look


def _seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
