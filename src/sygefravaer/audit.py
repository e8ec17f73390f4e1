# SPDX-License-Identifier: MPL-2.0
"""
The record: what was done, by which system, for which municipality, about whom, and what came of it.

A row is written in the transaction of what it records, unchained, so that writing is cheap. One sealer numbers the
committed rows and chains them with a key that is not in the database, and writes the head of the chain to an anchor
file outside it too. `verify` finds an edit, an insertion, a deletion, a change of order and a cut end, and says how
much is not sealed yet. Nobody's CPR number is here, only its keyed hash.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import errno
import hmac
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import UUID

from sygefravaer.errors import StoreError, UsageError
from sygefravaer.store import Row, Store, Trail, Tx

log = logging.getLogger(__name__)

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
)


class Event(StrEnum):
    """What can be recorded: `object.what became of it`."""

    CALL_REFUSED = "call.refused"
    LOOKUP_ASKED = "lookup.asked"
    LOOKUP_ANSWERED = "lookup.answered"
    MESSAGE_ACCEPTED = "message.accepted"
    MESSAGE_REPEATED = "message.repeated"
    MESSAGE_ATTEMPTED = "message.attempted"
    MESSAGE_DELIVERED = "message.delivered"
    MESSAGE_REFUSED = "message.refused"
    MESSAGE_PARKED = "message.parked"
    MESSAGE_REPLAYED = "message.replayed"
    MESSAGE_DISCARDED = "message.discarded"
    MESSAGE_MOVED = "message.moved"
    ROUTE_CHANGED = "route.changed"
    MESSAGE_TOLD = "message.told"
    ANSWER_REMINDED = "answer.reminded"


_TYPES: Final[Mapping[str, str]] = {
    "at": "timestamptz",
    "event": "text",
    "call_uuid": "uuid",
    "serial_key": "text",
    "system": "uuid",
    "agreement": "uuid",
    "municipality_cvr": "text",
    "operation": "text",
    "besked_id": "uuid",
    "on_behalf_of": "bytea",
    "cpr_key": "bytea",
    "code": "text",
    "reason": "text",
    "names": "bigint",
    "detail": "jsonb",
}

_INSERT: Final = (
    f"INSERT INTO audit ({', '.join(_TYPES)}) "
    f"SELECT {', '.join(f'%(audit_{name})s::{kind}' for name, kind in _TYPES.items())} FROM gate"
)
_RECORD: Final = f"WITH gate AS (SELECT) {_INSERT} RETURNING audit_id"
_RECORD_LOOSELY: Final = (
    f"WITH gate AS (SELECT set_config('synchronous_commit', 'off', true)) {_INSERT} RETURNING audit_id"
)


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
    return int(row["audit_id"]) if row else 0


# --- the chain ---

KEY_BYTES: Final = 32
SEAL_EVERY: Final = 0.5  # seconds of machine time
ANCHOR_EVERY: Final = 60.0
_BATCH: Final = 2_000
_LINE: Final = 4096  # bytes; far more than a line of the anchor file has
_FIRST: Final = b"sygefravaer audit 1"
_SEALED: Final = ("audit_id", *_TYPES)

_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('audit sealer ' || current_schema, 0)) AS held"
_HEAD: Final = "SELECT seq, chain FROM audit WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
_AS_TEXT: Final = {"uuid": "{0}::text AS {0}", "bytea": "encode({0}, 'hex') AS {0}"}  # as _plain would make of it
_UNSEALED: Final = f"""
SELECT {", ".join(_AS_TEXT.get(_TYPES.get(name, ""), "{0}").format(name) for name in _SEALED)}
FROM audit WHERE seq IS NULL ORDER BY audit_id LIMIT %(limit)s"""
_SEAL: Final = """
UPDATE audit SET seq = sealed.seq, chain = sealed.chain, sealed_at = %(now)s
FROM unnest(%(ids)s::bigint[], %(seqs)s::bigint[], %(chains)s::bytea[]) AS sealed (audit_id, seq, chain)
WHERE audit.audit_id = sealed.audit_id"""
_PAGE: Final = f"""
SELECT {", ".join(_SEALED)}, seq, chain FROM audit WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s"""
_TAIL: Final = "SELECT count(*) AS number, min(at) AS oldest FROM audit WHERE seq IS NULL"


def create_key(path: Path) -> bytes:
    """Make the key of the chain in a file that only its owner can read, and never over another one."""
    key = os.urandom(KEY_BYTES)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError("AuditKeyUnwritable", f"{path} cannot be made: {error.strerror}.") from error
    with os.fdopen(handle, "wb") as file:
        file.write(base64.b64encode(key))
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key(path: Path) -> bytes:
    """Read the key of the chain; a file that others can read is refused."""
    try:
        mode, raw = path.stat().st_mode, path.read_bytes()
        key = base64.b64decode(raw, validate=True)
    except OSError as error:
        raise UsageError("AuditKeyUnreadable", f"{path} cannot be read: {error.strerror}.") from error
    except binascii.Error as error:
        raise UsageError("AuditKeyMalformed", f"{path} is not the key of an audit chain.") from error
    if mode & 0o077 or len(key) != KEY_BYTES:
        raise UsageError("AuditKeyMalformed", f"{path} must hold {KEY_BYTES} bytes in base64 and have mode 600.")
    return key


def _link(key: bytes, before: bytes, seq: int, row: Row) -> bytes:
    """Chain one row to the one before it: everything it says, its number and its place."""
    said = [seq, *(_plain(row[name]) for name in _SEALED)]
    return hmac.digest(key, before + _written(said).encode(), "sha256")


_written: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode


def _plain(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, UUID) else value


class Sealer:
    """Numbers and chains what has been committed. Several may run: one works at a time."""

    def __init__(self, store: Store, *, key: bytes, anchor: Path) -> None:
        self._store = store
        self._key = key
        self._anchor = anchor
        self._stop = asyncio.Event()

    async def seal(self) -> int:
        """Seal what is committed and unsealed; give how many rows, 0 also when another sealer is at it."""
        total = 0
        while number := await self._seal_batch():
            total += number
        return total

    async def _seal_batch(self) -> int:
        async with self._store.tx() as tx:
            lock = await tx.one(_LOCK)
            if not (lock and lock["held"]):
                return 0
            rows = await tx.all(_UNSEALED, limit=_BATCH)
            if not rows:
                return 0
            head = await tx.one(_HEAD)
            seq, chain = (int(head["seq"]), bytes(head["chain"])) if head else (0, _FIRST)
            seqs, chains = [], []
            for row in rows:
                seq += 1
                chain = _link(self._key, chain, seq, row)
                seqs.append(seq)
                chains.append(chain)
            ids = [row["audit_id"] for row in rows]
            await tx.run(_SEAL, ids=ids, seqs=seqs, chains=chains, now=datetime.now(UTC))
            return len(rows)

    async def anchor(self) -> None:
        """Write the head of the chain to the anchor file, durably; nothing is written while nothing is sealed."""
        async with self._store.read() as tx:
            head = await tx.one(_HEAD)
        if head is not None:
            line = {"at": datetime.now(UTC).isoformat(), "seq": head["seq"], "chain": bytes(head["chain"]).hex()}
            await asyncio.to_thread(_append, self._anchor, json.dumps(line))

    async def run(self) -> None:
        """Seal until `stop`, and anchor every minute and at the end; a database that is away is waited for."""
        loop = asyncio.get_running_loop()
        anchor_at = loop.time()
        while True:
            stopping = self._stop.is_set()
            try:
                await self.seal()
                if stopping or loop.time() >= anchor_at:
                    await self.anchor()
                    anchor_at = loop.time() + ANCHOR_EVERY
            except StoreError as error:
                log.warning("audit.seal_failed", extra={"error": error.code})
            if stopping:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), SEAL_EVERY)

    def stop(self) -> None:
        """Let `run` end after one more round."""
        self._stop.set()


def _append(path: Path, line: str) -> None:
    """Write a line whole or, when the disk is full, raise; half a line that was left before goes first."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(handle).st_size
        tail = os.pread(handle, _LINE, max(0, size - _LINE))
        if half := len(tail) - (tail.rfind(b"\n") + 1):
            os.ftruncate(handle, size - half)
        whole = f"{line}\n".encode("ascii")
        if os.write(handle, whole) < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """The head of the chain as it stood at one minute."""

    seq: int
    chain: bytes


def read_anchors(path: Path) -> list[Anchor]:
    """Read an anchor file; a line cut off by a crash at the end is left out, any other broken line is an error."""
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("AnchorUnreadable", f"{path} cannot be read as an anchor file.") from error
    anchors = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            said = json.loads(line)
            anchors.append(Anchor(seq=int(said["seq"]), chain=bytes.fromhex(said["chain"])))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError("AnchorMalformed", f"{path}, line {number}, is not an anchor.") from error
    return anchors


class Kind(StrEnum):
    """What can be wrong with a chain."""

    CHANGED = "changed"  # the row is not what was sealed in this place: edited, inserted or moved
    MISSING = "missing"  # numbers are left out: rows were deleted
    CUT = "cut"  # the anchor file knows a later row: the end was deleted
    REWRITTEN = "rewritten"  # the anchor file knows another row in this place


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong, and at which number of the chain."""

    kind: Kind
    seq: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `verify` found; `unsealed` rows are committed, but no finding can be made about them yet."""

    sealed: int
    unsealed: int
    oldest_unsealed: datetime | None
    findings: tuple[Finding, ...] = field(default=())


async def verify(store: Store, *, key: bytes, anchors: Iterable[Anchor] = ()) -> Report:
    """Read the whole chain, and compare it with the anchors."""
    findings: list[Finding] = []
    wanted = {anchor.seq: anchor.chain for anchor in anchors}
    after, chain, sealed = 0, _FIRST, 0
    while True:
        async with store.read() as tx:
            rows = await tx.all(_PAGE, after=after, limit=_BATCH)
            tail = await tx.one(_TAIL)
        for row in rows:
            seq, stored = int(row["seq"]), bytes(row["chain"])
            if seq != after + 1:
                findings.append(Finding(kind=Kind.MISSING, seq=after + 1))
            elif not hmac.compare_digest(_link(key, chain, seq, row), stored):
                findings.append(Finding(kind=Kind.CHANGED, seq=seq))
            if wanted.pop(seq, stored) != stored:
                findings.append(Finding(kind=Kind.REWRITTEN, seq=seq))
            after, chain, sealed = seq, stored, sealed + 1
        if len(rows) < _BATCH:
            break
    findings += [Finding(kind=Kind.CUT, seq=seq) for seq in sorted(wanted) if seq > after]
    unsealed, oldest = (tail["number"], tail["oldest"]) if tail else (0, None)
    return Report(sealed=sealed, unsealed=unsealed, oldest_unsealed=oldest, findings=tuple(findings))
