# SPDX-License-Identifier: MPL-2.0
"""Deleting what of messages is older than it may be: bodies first, later the messages with their receipts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sygefravaer import audit
from sygefravaer.store import Row, Store, Tx
from sygefravaer.store.expiring import BATCH, Expired, digest_of

_ENDED: Final = "status IN ('delivered', 'refused', 'discarded') AND settled_at < %(before)s"

# A message that somebody is still to be told of, or still owes an answer to, stays whole.
_FREE: Final = f"""{_ENDED}
AND NOT EXISTS (SELECT FROM unheard WHERE unheard.message_id = message.message_id AND told_at IS NULL)
AND NOT EXISTS (SELECT FROM obligation WHERE obligation.message_id = message.message_id
    AND obligation.settled_at IS NULL)"""
_WHICH: Final = {"bodies": f"{_ENDED} AND length(body) > 0", "receipts": _FREE}

_COUNT: Final = "SELECT count(*) AS number, min(settled_at) AS first, max(settled_at) AS last FROM message WHERE "
_FIND: Final = "SELECT message_id, lane_id, sender, besked_id, digest, settled_at FROM message WHERE "
_PAGE: Final = " AND message_id > %(after)s ORDER BY message_id LIMIT %(limit)s FOR UPDATE"
_EMPTY: Final = "UPDATE message SET body = '' WHERE message_id = ANY (%(ids)s)"
_BESIDE: Final = ("attempt", "unheard", "moved", "replay", "talk", "obligation")
_LANES: Final = """
DELETE FROM lane WHERE lane_id = ANY (%(lanes)s) AND open = 0
AND NOT EXISTS (SELECT FROM message WHERE message.lane_id = lane.lane_id)"""


async def expired(store: Store, what: str, *, before: datetime) -> Expired:
    """Say what of a class (`bodies` or `receipts`) ended before an instant."""
    async with store.tx(limit=None) as tx:
        row = await tx.one(_COUNT + _WHICH[what], before=before)
    return Expired(what=what, **(row or {"number": 0, "first": None, "last": None}))


async def delete(store: Store, what: str, *, before: datetime, who: str, now: datetime) -> int:
    """Delete what of a class ended before an instant, in batches, each with its row in the record; give how many."""
    total, after = 0, 0
    while True:
        async with store.tx(limit=None) as tx:
            rows = await tx.all(_FIND + _WHICH[what] + _PAGE, before=before, after=after, limit=BATCH)
            if not rows:
                return total
            await _DELETES[what](tx, rows)
            await prove(tx, Proof(what=what, rows=tuple(rows), who=who, now=now))
        total, after = total + len(rows), rows[-1]["message_id"]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was deleted in one transaction, by whom and when."""

    what: str
    rows: tuple[Row, ...]
    who: str
    now: datetime


async def prove(tx: Tx, proof: Proof) -> None:
    """Write down what was deleted: count, range and digest."""
    ends = [row["settled_at"] for row in proof.rows]
    content = (f"{row['sender']} {row['besked_id']} {bytes(row['digest']).hex()}".encode() for row in proof.rows)
    detail = Expired(what=proof.what, number=len(proof.rows), first=min(ends), last=max(ends)).plain()
    digest = digest_of(content).hex()
    await audit.record(
        tx, audit.Event.RETENTION_RUN, now=proof.now, detail={"by": proof.who, **detail, "digest": digest}
    )


async def _empty(tx: Tx, rows: list[Row]) -> None:
    await tx.run(_EMPTY, ids=[row["message_id"] for row in rows])


async def _remove(tx: Tx, rows: list[Row]) -> None:
    ids = [row["message_id"] for row in rows]
    for table in (*_BESIDE, "message"):
        await tx.run(f"DELETE FROM {table} WHERE message_id = ANY (%(ids)s)", ids=ids)
    await tx.run(_LANES, lanes=sorted({row["lane_id"] for row in rows}))


_DELETES: Final[dict[str, Callable[[Tx, list[Row]], Awaitable[None]]]] = {"bodies": _empty, "receipts": _remove}
