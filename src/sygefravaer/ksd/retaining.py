# SPDX-License-Identifier: MPL-2.0
"""Deleting what of KSD's access log is older than it may be."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from sygefravaer.store import Store
from sygefravaer.store.expiring import BATCH, Expired, digest_of

LOG: Final = logging.getLogger(__name__)

WHAT: Final = "access_log"

_COUNT: Final = """
SELECT count(*) AS number, min(at) AS first, max(at) AS last FROM access_log WHERE at < %(before)s"""
_DELETE: Final = """
DELETE FROM access_log WHERE access_id IN (
    SELECT access_id FROM access_log WHERE at < %(before)s ORDER BY access_id LIMIT %(limit)s)
RETURNING access_id, at, call_uuid, besked_id"""


async def expired(store: Store, *, before: datetime) -> Expired:
    """Say how much of the log was written before an instant."""
    async with store.tx(limit=None) as tx:
        row = await tx.one(_COUNT, before=before)
    return Expired(what=WHAT, **(row or {"number": 0, "first": None, "last": None}))


async def delete(store: Store, *, before: datetime) -> list[dict[str, object]]:
    """Delete what was written before an instant, in batches; give count, range and digest of each, and log them."""
    proofs: list[dict[str, object]] = []
    while True:
        async with store.tx(limit=None) as tx:
            rows = sorted(await tx.all(_DELETE, before=before, limit=BATCH), key=lambda row: int(row["access_id"]))
        if not rows:
            return proofs
        times = [row["at"] for row in rows]
        told = Expired(what=WHAT, number=len(rows), first=min(times), last=max(times)).plain()
        digest = digest_of(f"{row['access_id']} {row['call_uuid']} {row['besked_id']}".encode() for row in rows).hex()
        proofs.append({**told, "digest": digest})
        LOG.info("retention.run", extra={"deleted": proofs[-1]})
