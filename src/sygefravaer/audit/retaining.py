# SPDX-License-Identifier: MPL-2.0
"""
Deleting the beginning of the record by retention, so that the chain still verifies.

The link of the last row that is gone stays as the new beginning, signed with the key, in the database and as a line of
the anchor file. Only what is sealed and found whole is deleted, and the deletion is a row.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sygefravaer.audit.chain import cut_signature
from sygefravaer.audit.events import Event
from sygefravaer.audit.recording import record
from sygefravaer.audit.sealing import Anchor, append
from sygefravaer.store import Store, Tx
from sygefravaer.store.expiring import BATCH, Expired, digest_of

WHAT: Final = "audit"

# Whatever stands behind the first row that is to stay stays too, however old: the chain has one beginning.
_LAST: Final = """
SELECT coalesce(
    (SELECT seq - 1 FROM audit WHERE seq IS NOT NULL AND at >= %(before)s ORDER BY seq LIMIT 1),
    (SELECT max(seq) FROM audit)
) AS seq"""
_COUNT: Final = """
SELECT count(*) AS number, min(at) AS first, max(at) AS last FROM audit WHERE seq <= %(last)s"""
_ROWS: Final = """
SELECT seq, audit_id, at, chain FROM audit WHERE seq <= %(last)s ORDER BY seq LIMIT %(limit)s"""
_GONE: Final = "SELECT coalesce(max(last_id), 0) AS number FROM audit_cut"
_KEEP: Final = """
INSERT INTO audit_cut (seq, chain, at, number, first_at, last_at, last_id, digest, mac)
VALUES (%(seq)s, %(chain)s, %(at)s, %(number)s, %(first_at)s, %(last_at)s, %(last_id)s, %(digest)s, %(mac)s)"""


async def expired(store: Store, *, before: datetime) -> Expired:
    """Say how much of the record was written before an instant, and could be deleted."""
    async with store.tx(limit=None) as tx:
        last = await _last(tx, before)
        row = await tx.one(_COUNT, last=last)
    return Expired(what=WHAT, **(row or {"number": 0, "first": None, "last": None}))


async def cut(store: Store, *, key: bytes, anchor: Path, before: datetime, who: str, now: datetime) -> int:
    """
    Delete what of the record was written before an instant, in batches; give how many rows.

    Whoever asks has found the record whole: evidence is not to be deleted.
    """
    total = 0
    async with store.tx(limit=None) as tx:
        last = await _last(tx, before)
    while number := await _batch(store, key=key, anchor=anchor, last=last, who=who, now=now):
        total += number
    return total


async def _batch(store: Store, *, key: bytes, anchor: Path, last: int, who: str, now: datetime) -> int:
    async with store.tx(limit=None) as tx:
        rows = await tx.all(_ROWS, last=last, limit=BATCH)
        if not rows:
            return 0
        gone, times = await tx.one(_GONE), [row["at"] for row in rows]
        end: dict[str, Any] = {
            "seq": int(rows[-1]["seq"]),
            "chain": bytes(rows[-1]["chain"]),
            "at": now,
            "number": len(rows),
            "first_at": min(times),
            "last_at": max(times),
            "last_id": max(int(gone["number"]) if gone else 0, *(int(row["audit_id"]) for row in rows)),
            "digest": digest_of(bytes(row["chain"]) for row in rows),
        }
        await tx.run(_KEEP, **end, mac=cut_signature(key, end))
        await tx.run("DELETE FROM audit WHERE seq <= %(seq)s", seq=end["seq"])
        told = Expired(what=WHAT, number=len(rows), first=end["first_at"], last=end["last_at"]).plain()
        proof = {"by": who, **told, "to": end["seq"], "digest": end["digest"].hex()}
        await record(tx, Event.RETENTION_RUN, now=now, detail=proof)
        # True whether or not this commits: the chain has this link at this place.
        await asyncio.to_thread(append, anchor, Anchor(seq=end["seq"], chain=end["chain"]).line())
    return len(rows)


async def _last(tx: Tx, before: datetime) -> int:
    row = await tx.one(_LAST, before=before)
    return int(row["seq"] or 0) if row else 0
