# SPDX-License-Identifier: MPL-2.0
"""
Finding citizens by a new look-up key: messages get the new hash, while no message waits in a lane that a hash names.

The number is in the body, sealed; a message whose body is gone keeps its hash. The record keeps all of its hashes,
since they are part of the chain: so the older keys stay, and which hash followed on which is written down.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.delivery.sealed import read_body
from sygefravaer.store import Row, Store, Tx
from sygefravaer.vault import CannotOpen, Vault

MIGRATION: Final = """
-- Which hash of a citizen followed on which, when the look-up key was changed.
CREATE TABLE rehashed (
    old bytea PRIMARY KEY,
    new bytea NOT NULL,
    at  timestamptz NOT NULL
);
CREATE INDEX rehashed_new ON rehashed (new);
"""

BATCH: Final = 500

_OPEN: Final = "SELECT count(*) AS number FROM lane WHERE open > 0 AND starts_with(case_key, 'cpr:')"
_PAGE: Final = """
SELECT message_id, operation, body, cpr_key FROM message WHERE message_id > %(after)s
ORDER BY message_id LIMIT %(limit)s FOR UPDATE"""
_HASH: Final = "UPDATE message SET cpr_key = %(new)s WHERE message_id = %(message_id)s"
_FOLLOWS: Final = """
INSERT INTO rehashed (old, new, at) VALUES (%(old)s, %(new)s, %(now)s)
ON CONFLICT (old) DO UPDATE SET new = excluded.new"""
_CHAIN: Final = "UPDATE rehashed SET new = %(new)s WHERE new = %(old)s"


async def open_on_cpr(store: Store) -> int:
    """Count the lanes that are named by a citizen's hash and in which something waits."""
    async with store.read() as tx:
        row = await tx.one(_OPEN)
    return int(row["number"]) if row else 0


async def rehash(store: Store, vault: Vault, *, now: datetime, told: Callable[[int], None]) -> tuple[int, int]:
    """Give every message today's hash, in batches; say how many got another one, and how many could not be read."""
    after = changed = unread = 0
    while True:
        async with store.tx(limit=None) as tx:
            rows = await tx.all(_PAGE, after=after, limit=BATCH)
            for row in rows:
                number = _number(vault, row)
                if number is None:
                    unread += 1
                else:
                    changed += await _change(tx, row, vault.lookup_key(number), now)
        if not rows:
            return changed, unread
        after = rows[-1]["message_id"]
        told(after)


async def _change(tx: Tx, row: Row, new: bytes, now: datetime) -> bool:
    old = bytes(row["cpr_key"])
    if old == new:
        return False
    await tx.run(_HASH, message_id=row["message_id"], new=new)
    await tx.run(_CHAIN, old=old, new=new)
    await tx.run(_FOLLOWS, old=old, new=new, now=now)
    return True


def _number(vault: Vault, row: Row) -> str | None:
    """Read the citizen's number in a body; None when there is none any more, or it cannot be opened."""
    if not row["body"]:
        return None
    try:
        return read_body(vault, OPERATIONS[row["operation"]], bytes(row["body"])).Hoved.CprNummer.reveal()
    except CannotOpen:
        return None
