# SPDX-License-Identifier: MPL-2.0
"""Writing rows: in the transaction of what they record, and signed by the process that writes them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from sygefravaer.audit.chain import TYPES, signature
from sygefravaer.audit.events import Event
from sygefravaer.store import LOOSELY, Trail, Tx

MIGRATIONS: Final = (
    """
CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    event text NOT NULL,
    call_uuid uuid,
    serial_key text,
    system uuid,
    agreement uuid,
    municipality_cvr text,
    operation text,
    besked_id uuid,
    on_behalf_of bytea,
    cpr_key bytea,
    code text,
    reason text,
    names bigint,
    detail jsonb,
    seq bigint UNIQUE,
    chain bytea,
    sealed_at timestamptz
) WITH (fillfactor = 60);

CREATE INDEX audit_unsealed ON audit (audit_id) WHERE seq IS NULL;
CREATE INDEX audit_person ON audit (cpr_key, at) WHERE cpr_key IS NOT NULL;
CREATE INDEX audit_call ON audit (call_uuid);
""",
    """
-- A row is signed by the process that writes it; the chain may begin after rows that were deleted by retention.
ALTER TABLE audit ADD COLUMN mac bytea;
CREATE INDEX IF NOT EXISTS audit_at ON audit USING brin (at);
CREATE TABLE audit_cut (
    seq      bigint PRIMARY KEY,  -- the last row that is gone
    chain    bytea NOT NULL,
    at       timestamptz NOT NULL,
    number   bigint NOT NULL,     -- how many rows this cut took
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    last_id  bigint NOT NULL,
    digest   bytea NOT NULL,
    mac      bytea NOT NULL
);
""",
)


class _Signing:
    """The key by which this process signs what it writes; None where nothing is sealed. And what it has committed."""

    key: bytes | None = None
    committed: Final[deque[int]] = deque(maxlen=100_000)


def sign_with(key: bytes | None) -> bytes | None:
    """
    Sign every row that this process writes from now on with the key of the chain; give the key before. None: no key.

    One process works for one platform, and rows are written in many rooms that know no key.
    """
    before, _Signing.key = _Signing.key, key
    if before != key:
        _Signing.committed.clear()
    return before


def committed() -> list[int]:
    """
    Give, once, the numbers of rows that this process has surely committed: whoever finds one gone knows it was deleted.

    A row that is committed with something else is not among them: that bears witness to it.
    """
    numbers = list(_Signing.committed)
    _Signing.committed.clear()
    return numbers


_INSERT: Final = (
    f"INSERT INTO audit ({', '.join(TYPES)}, mac) "
    f"SELECT {', '.join(f'%(audit_{name})s::{kind}' for name, kind in TYPES.items())}, %(audit_mac)s::bytea FROM gate"
)
_RECORD: Final = f"WITH gate AS (SELECT) {_INSERT} RETURNING audit_id"
_RECORD_LOOSELY: Final = f"WITH gate AS (SELECT {LOOSELY}) {_INSERT} RETURNING audit_id"


def trail(
    event: Event,
    *,
    now: datetime,
    call_uuid: UUID | None = None,
    serial_key: str | None = None,
    system: UUID | None = None,
    agreement: UUID | None = None,
    municipality_cvr: str | None = None,
    operation: str | None = None,
    besked_id: UUID | None = None,
    on_behalf_of: bytes | None = None,
    cpr_key: bytes | None = None,
    code: str | None = None,
    reason: str | None = None,
    names: int | None = None,
    detail: Mapping[str, object] | None = None,
) -> Trail:
    """
    Make the row as something that another statement carries: written if and only if that statement does its work.

    `on_behalf_of` is sealed, `cpr_key` is a keyed hash; `names` is the number of the row that this one is about;
    `detail` becomes JSON. No text here holds a value from a message.
    """
    values: dict[str, object] = {
        "at": now,
        "event": event.value,
        "call_uuid": call_uuid,
        "serial_key": serial_key,
        "system": system,
        "agreement": agreement,
        "municipality_cvr": municipality_cvr,
        "operation": operation,
        "besked_id": besked_id,
        "on_behalf_of": on_behalf_of,
        "cpr_key": cpr_key,
        "code": code,
        "reason": reason,
        "names": names,
        "detail": None if detail is None else json.dumps(detail, default=str),
    }
    key = _Signing.key
    said = values | {"detail": None if detail is None else json.loads(str(values["detail"]))}
    values["mac"] = None if key is None else signature(key, said)
    return Trail(statement=_INSERT, params={f"audit_{name}": value for name, value in values.items()})


async def record(
    tx: Tx,
    event: Event,
    *,
    now: datetime,
    call_uuid: UUID | None = None,
    serial_key: str | None = None,
    system: UUID | None = None,
    agreement: UUID | None = None,
    municipality_cvr: str | None = None,
    operation: str | None = None,
    besked_id: UUID | None = None,
    on_behalf_of: bytes | None = None,
    cpr_key: bytes | None = None,
    code: str | None = None,
    reason: str | None = None,
    names: int | None = None,
    detail: Mapping[str, object] | None = None,
    loosely: bool = False,
) -> int:
    """
    Write one row in the caller's transaction and give its number; the fields are those of `trail`.

    `loosely` lets a transaction that is this row alone commit without waiting for the disk: for the outcome of what
    another row says already, so that a crash of the database may cost the outcome and never the fact.
    """
    made = trail(
        event,
        now=now,
        call_uuid=call_uuid,
        serial_key=serial_key,
        system=system,
        agreement=agreement,
        municipality_cvr=municipality_cvr,
        operation=operation,
        besked_id=besked_id,
        on_behalf_of=on_behalf_of,
        cpr_key=cpr_key,
        code=code,
        reason=reason,
        names=names,
        detail=detail,
    )
    row = await tx.one(_RECORD_LOOSELY if loosely else _RECORD, **made.params)
    number = int(row["audit_id"]) if row else 0
    if tx.alone and not loosely and _Signing.key is not None:
        _Signing.committed.append(number)
    return number
