# SPDX-License-Identifier: MPL-2.0
"""
Who looked at whom: one row per look-up, committed before the answer leaves.

The row says the true outcome, also where the wire says only that a case is unknown. Rows of look-ups that come at the
same time are written by one statement: each waits for its own commit, none for another's turn.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Final
from uuid import UUID

from sygefravaer.errors import SygefravaerError
from sygefravaer.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """One look-up and its outcome; `code` is what the wire said (OK or an H code), `reason` what was so."""

    at: datetime
    operation: str
    besked_id: UUID
    call_uuid: UUID
    caller: str | None
    system_id: UUID
    municipality_cvr: str
    on_behalf_of: bytes | None
    cpr_key: bytes
    sags_id: UUID | None
    code: str
    reason: str


_TYPES: Final = {
    "at": "timestamptz",
    **dict.fromkeys(("besked_id", "call_uuid", "system_id", "sags_id"), "uuid"),
    **dict.fromkeys(("on_behalf_of", "cpr_key"), "bytea"),
}
_NAMES: Final = tuple(field.name for field in fields(Access))
_ROW: Final = attrgetter(*_NAMES)
_INSERT: Final = (
    f"INSERT INTO access_log ({', '.join(_NAMES)}) SELECT * FROM unnest("
    + ", ".join(f"%({name})s::{_TYPES.get(name, 'text')}[]" for name in _NAMES)
    + ")"
)


class AccessLog:
    """Writes rows in groups; one group at a time is on its way."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[Access, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def write(self, access: Access) -> None:
        """Return when the row is committed; raises what kept it from being so."""
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((access, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await written

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            columns = zip(*(_ROW(access) for access, _ in group), strict=True)
            try:
                async with self._store.read() as tx:  # one statement is its own transaction: one round trip
                    await tx.run(_INSERT, **{name: list(column) for name, column in zip(_NAMES, columns, strict=True)})
            except SygefravaerError as error:
                failure: SygefravaerError | None = error
            else:
                failure = None
            for _, written in group:
                if written.done():  # the caller has gone
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)
