# SPDX-License-Identifier: MPL-2.0
"""What lies sealed in the tables of a schema: with which key each value is sealed, and sealing it anew in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sygefravaer.store.pool import Store
from sygefravaer.vault import CannotOpen, Vault

BLOCKS: Final = 64  # of a table, read in one batch
_BLOCK: Final = 8192  # bytes


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """
    A column of sealed values.

    `context` is what they are sealed as, or makes it of the columns it `needs`. `fixed` values are part of something
    that may not change (the chain of the record): they are counted, and keep their key until their row is gone.
    """

    table: str
    column: str
    context: str | Callable[[Mapping[str, Any]], str] = ""
    needs: tuple[str, ...] = ()
    fixed: bool = False

    def context_of(self, row: Mapping[str, Any]) -> str:
        """Give what the value of this row is sealed as."""
        return self.context if isinstance(self.context, str) else self.context(row)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the re-sealing of one column is, in blocks of its table; `sealed` values are under the new key now."""

    column: Sealed
    done: int
    of: int
    sealed: int
    unopened: int


async def usage(store: Store, columns: Iterable[Sealed]) -> dict[Sealed, Counter[int]]:
    """Count the values of each column by the key that they name."""
    used: dict[Sealed, Counter[int]] = {}
    for column in columns:
        value = column.column
        statement = (
            f"SELECT get_byte({value}, 0) * 256 + get_byte({value}, 1) AS key, count(*) AS number"
            f" FROM {column.table} WHERE length({value}) > 2 GROUP BY 1"
        )
        async with store.tx(limit=None) as tx:
            rows = await tx.all(statement)
        used[column] = Counter({row["key"]: row["number"] for row in rows})
    return used


async def reseal(store: Store, vault: Vault, column: Sealed, told: Callable[[Progress], None]) -> Progress:
    """
    Seal with the current key whatever a column holds under another; `told` hears of every batch.

    A value that changes meanwhile is left: whoever changed it has sealed it. One that cannot be opened is left too.
    """
    async with store.read() as tx:
        size = await tx.one("SELECT pg_relation_size(%(table)s::text::regclass) AS size", table=column.table)
    blocks = -(-int(size["size"]) // _BLOCK) if size else 0
    sealed = unopened = 0
    progress = Progress(column=column, done=0, of=blocks, sealed=0, unopened=0)
    for first in range(0, blocks, BLOCKS):
        number, failed = await _batch(store, vault, column, first)
        sealed, unopened = sealed + number, unopened + failed
        done = min(first + BLOCKS, blocks)
        progress = Progress(column=column, done=done, of=blocks, sealed=sealed, unopened=unopened)
        told(progress)
    return progress


async def _batch(store: Store, vault: Vault, column: Sealed, first: int) -> tuple[int, int]:
    """Seal anew what stands in some blocks; a row that was moved by an update is sealed with today's key already."""
    value = column.column
    wanted = ", ".join(("ctid::text AS place", f"{value} AS value", *column.needs))
    current = vault.current
    async with store.tx(limit=None) as tx:
        rows = await tx.all(
            f"SELECT {wanted} FROM {column.table} WHERE ctid >= %(first)s::tid AND ctid < %(last)s::tid"
            f" AND length({value}) > 2 AND substring({value} FROM 1 FOR 2) <> %(prefix)s::bytea FOR UPDATE",
            first=f"({first},0)",
            last=f"({first + BLOCKS},0)",
            prefix=current.to_bytes(2, "big"),
        )
        changes, failed = [], 0
        for row in rows:
            context = column.context_of(row)
            try:
                opened = vault.open(bytes(row["value"]), context=context)
            except CannotOpen:
                failed += 1
                continue
            changes.append({"place": row["place"], "value": vault.seal(opened, context=context)})
        if changes:
            await tx.many(f"UPDATE {column.table} SET {value} = %(value)s WHERE ctid = %(place)s::tid", changes)
    return len(changes), failed
