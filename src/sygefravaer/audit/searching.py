# SPDX-License-Identifier: MPL-2.0
"""Looking into the record, by whoever may: each look is a row itself, written before anything is shown."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sygefravaer.audit.events import Event
from sygefravaer.audit.recording import record
from sygefravaer.errors import UsageError
from sygefravaer.store import Row, Sealed, Store, Tx
from sygefravaer.vault import CannotOpen, Vault

USER: Final = "audit.user"  # what a sealed OnBehalfOfUser is
PURPOSE: Final = "audit.purpose"  # and why somebody looked into the record
PAGE: Final = 1_000
SEALED: Final = (
    Sealed(table="audit", column="on_behalf_of", context=USER, fixed=True),
    Sealed(table="audit", column="decode(detail ->> 'purpose', 'base64')", context=PURPOSE, fixed=True),
)
"""What lies sealed in the record: part of the chain, so it keeps its key until retention takes the row."""
_PSEUDONYM: Final = 6  # bytes: enough for all who ever called, and for no comparison with anything else

COLUMNS: Final = """
audit_id, at, event, call_uuid, serial_key, system, agreement, municipality_cvr, operation, besked_id, on_behalf_of,
cpr_key, code, reason, names, detail, seq"""
_WHERE: Final[Mapping[str, str]] = {
    "since": "at >= %(since)s",
    "until": "at < %(until)s",
    "event": "event = %(event)s",
    "thing": "starts_with(event, %(thing)s)",
    "system": "system = %(system)s",
    "municipality": "municipality_cvr = %(municipality)s",
    "operation": "operation = %(operation)s",
    "outcome": "code = %(outcome)s",
    "call_uuid": "call_uuid = %(call_uuid)s",
    "persons": "cpr_key = ANY (%(persons)s)",
}
"""What a search may ask, and how it is asked; only what is given stands in the statement, so that indexes serve it."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """
    What is looked for: all that is given must fit. `thing` is what an event is about.

    `persons` are the keyed hashes of one citizen: the first is today's, others are of look-up keys before.
    """

    since: datetime | None = None
    until: datetime | None = None
    event: Event | None = None
    thing: str | None = None
    system: UUID | None = None
    municipality: str | None = None
    operation: str | None = None
    outcome: str | None = None
    call_uuid: UUID | None = None
    persons: tuple[bytes, ...] = ()

    def given(self) -> dict[str, object]:
        """Give what is asked, by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["persons"] = list(self.persons) or None
        if self.thing is not None:
            values["thing"] = f"{self.thing}."
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Who looks, why, and when; about a citizen, or to see who the users are, a purpose is needed."""

    who: str
    now: datetime
    purpose: str | None = None

    def __post_init__(self) -> None:
        """Refuse a reader without a name; raises `UsageError`."""
        if not self.who.strip():
            raise UsageError("WordsMissing", "Who looks into the record is empty; the record needs it.")

    def needs_purpose(self) -> None:
        """Refuse one who does not say why; raises `UsageError`."""
        if not (self.purpose or "").strip():
            raise UsageError("PurposeMissing", "A look at a citizen or at who the users are needs a purpose.")

    async def noted(self, store: Store, vault: Vault, event: Event, asked: Query, **more: object) -> int:
        """Write down that this reader looks into the record, durably; give the number of the row."""
        criteria = {name: value for name, value in asked.given().items() if name != "persons"}
        person = asked.persons[0] if asked.persons else None
        return await self.looked(
            store,
            vault,
            event,
            municipality_cvr=asked.municipality,
            cpr_key=person,
            detail=more | ({"asked": criteria} if criteria else {}),
        )

    async def looked(
        self,
        store: Store,
        vault: Vault,
        event: Event,
        *,
        system: UUID | None = None,
        municipality_cvr: str | None = None,
        operation: str | None = None,
        besked_id: UUID | None = None,
        cpr_key: bytes | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> int:
        """Write down that this reader looks at something, durably, with why if he said so; give the row's number."""
        told: dict[str, object] = {"by": self.who, **(detail or {})}
        if self.purpose:
            told["purpose"] = base64.b64encode(vault.seal(self.purpose.encode(), context=PURPOSE)).decode("ascii")
        async with store.tx() as tx:
            return await record(
                tx,
                event,
                now=self.now,
                system=system,
                municipality_cvr=municipality_cvr,
                operation=operation,
                besked_id=besked_id,
                cpr_key=cpr_key,
                detail=told,
            )


_OF_CALL: Final = """
SELECT at, event, serial_key, system, agreement, municipality_cvr, operation, code, reason FROM audit
WHERE call_uuid = %(call_uuid)s ORDER BY audit_id"""


async def of_call(tx: Tx, call_uuid: UUID) -> list[Row]:
    """Give what the record says of one call, without who it is about: what decided, and what came of it."""
    return await tx.all(_OF_CALL, call_uuid=call_uuid)


async def search(
    store: Store,
    vault: Vault,
    query: Query,
    reader: Reader,
    *,
    limit: int,
    after: int = 0,
    users: bool = False,
) -> list[dict[str, Any]]:
    """
    Give rows in the order in which they were written, those after row `after`, and note who looked.

    A user is given as a pseudonym, the same for the same user; by name with `users`. Raises `UsageError`.
    """
    await _note(store, vault, Event.AUDIT_SEARCHED, query, reader, users=users)
    async with store.read() as tx:
        rows = await tx.all(_statement(query), after=after, limit=limit, **query.given())
    return [shown(row, vault, users=users) for row in rows]


async def rows_of(store: Store, query: Query) -> AsyncIterator[Row]:
    """Give every row that fits, page by page; who asks has noted it."""
    after = 0
    while True:
        async with store.read() as tx:
            rows = await tx.all(_statement(query), after=after, limit=PAGE, **query.given())
        for row in rows:
            yield row
        if len(rows) < PAGE:
            return
        after = rows[-1]["audit_id"]


async def _note(store: Store, vault: Vault, event: Event, query: Query, reader: Reader, *, users: bool) -> None:
    if users or query.persons:
        reader.needs_purpose()
    await reader.noted(store, vault, event, query, **({"users": True} if users else {}))


def _statement(query: Query) -> str:
    wanted = " AND ".join(["audit_id > %(after)s", *(_WHERE[name] for name in query.given())])
    return f"SELECT {COLUMNS} FROM audit WHERE {wanted} ORDER BY audit_id LIMIT %(limit)s"


def pseudonym(vault: Vault, user: str) -> str:
    """Give a name that says nothing of the user, and is the same for the same one."""
    return vault.lookup_key(f"{USER} {user}")[:_PSEUDONYM].hex()


def shown(row: Row, vault: Vault, *, users: bool) -> dict[str, Any]:
    """Give a row as it is shown: the citizen by the keyed hash, the user by pseudonym or name, a purpose in words."""
    told: dict[str, Any] = {name: value for name, value in row.items() if name not in {"on_behalf_of", "cpr_key"}}
    told["at"] = row["at"].isoformat()
    told["person"] = None if row["cpr_key"] is None else bytes(row["cpr_key"]).hex()
    told["user"] = None
    if row["on_behalf_of"] is not None:
        user = opened(vault, bytes(row["on_behalf_of"]), USER)
        told["user"] = user if users or user is None else pseudonym(vault, user)
    detail = row["detail"]
    if isinstance(detail, dict) and isinstance(detail.get("purpose"), str):
        purpose = opened(vault, base64.b64decode(detail["purpose"]), PURPOSE) if users else "(sealed)"
        told["detail"] = detail | {"purpose": purpose}
    return {name: str(value) if isinstance(value, UUID) else value for name, value in told.items()}


def opened(vault: Vault, sealed: bytes, context: str) -> str | None:
    """Open what stands sealed in a row; None when its key is retired."""
    try:
        return vault.open(sealed, context=context).decode()
    except CannotOpen:
        return None
