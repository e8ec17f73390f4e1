# SPDX-License-Identifier: MPL-2.0
"""Messages as a person looks them up: lists, and all that is known of one. No body, no receipt, nobody's number."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sygefravaer.delivery.story import told
from sygefravaer.errors import NoSuchMessage
from sygefravaer.lanes import OPEN, Status
from sygefravaer.store import Row, Store, Tx

_HEAD: Final = """
message.message_id, message.besked_id, message.operation, message.municipality_cvr, message.sender, message.recipient,
message.status, message.detail, message.accepted_at, message.first_attempt_at, message.settled_at, message.failures,
message.lane_id"""

_LIST: Final = f"""
SELECT {_HEAD} FROM message
WHERE status = ANY (%(statuses)s)
  AND (%(municipality)s::text IS NULL OR municipality_cvr = %(municipality)s)
  AND (%(recipient)s::uuid IS NULL OR recipient = %(recipient)s)
ORDER BY message_id LIMIT %(limit)s"""

# The same, and said so that the index of what has not ended can be used.
_LIST_OPEN: Final = _LIST.replace("WHERE status", "WHERE status IN ('queued', 'sending', 'parked') AND status")

_FIND: Final = f"""
SELECT {_HEAD}, message.korrelations_id, message.reference_besked_id, message.nemrefusions_id,
       message.call_uuid, (message.receipt IS NOT NULL) AS answered,
       lane.open, lane.parked AS lane_parked, lane.next_at, (lane.token IS NOT NULL) AS lane_held,
       (SELECT count(*) FROM message AS other WHERE other.lane_id = message.lane_id
          AND other.status IN ('queued', 'sending', 'parked') AND other.message_id < message.message_id) AS before,
       unheard.since AS unheard_since, unheard.told_at, unheard.told_by
FROM message JOIN lane ON lane.lane_id = message.lane_id
LEFT JOIN unheard ON unheard.message_id = message.message_id
WHERE message.message_id = %(number)s OR message.besked_id = %(besked_id)s
ORDER BY message.message_id"""

_MOVES: Final = "SELECT at, who, source, target FROM moved WHERE message_id = %(message_id)s ORDER BY moved_id"
_REPLAYS: Final = "SELECT at, who, plan, recipient FROM replay WHERE message_id = %(message_id)s ORDER BY replay_id"


async def listed(
    store: Store,
    *,
    statuses: frozenset[Status],
    municipality: str | None = None,
    recipient: UUID | None = None,
    limit: int,
) -> list[Row]:
    """List messages by status, oldest first."""
    statement = _LIST_OPEN if statuses <= OPEN else _LIST
    async with store.read() as tx:
        return await tx.all(
            statement,
            statuses=sorted(status.value for status in statuses),
            municipality=municipality,
            recipient=recipient,
            limit=limit,
        )


async def shown(store: Store, key: int | UUID) -> list[dict[str, Any]]:
    """
    Tell all that is known of a message, by its number or its BeskedID, which two senders may both have used.

    Raises `NoSuchMessage`.
    """
    number, besked_id = (key, None) if isinstance(key, int) else (None, key)
    async with store.snapshot() as tx:
        rows = await tx.all(_FIND, number=number, besked_id=besked_id)
        if not rows:
            raise NoSuchMessage
        return [await _all(tx, row) for row in rows]


async def _all(tx: Tx, row: Row) -> dict[str, Any]:
    number = row["message_id"]
    story = (await told(tx, number)).plain()
    return {
        **row,
        "attempts": story["attempts"],
        "answers": story["answers"],
        "debts": story["debts"],
        "moves": [dict(one) for one in await tx.all(_MOVES, message_id=number)],
        "replays": [dict(one) for one in await tx.all(_REPLAYS, message_id=number)],
    }
