# SPDX-License-Identifier: MPL-2.0
"""What a row says, its signature, its link in the chain, and the key of both, which is not in the database."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sygefravaer.errors import UsageError

TYPES: Final[Mapping[str, str]] = {
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
"""What a row says, by column and type."""

SEALED: Final = ("audit_id", *TYPES)
KEY_BYTES: Final = 32
FIRST: Final = b"sygefravaer audit 1"
_ROW: Final = b"sygefravaer audit row\n"
_CUT: Final = b"sygefravaer audit cut\n"


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


def signature(key: bytes, row: Mapping[str, Any]) -> bytes:
    """Sign what a row says, before it has a number: whoever has no key can neither put one in nor change one."""
    return hmac.digest(key, _ROW + _text([_plain(row[name]) for name in TYPES]), "sha256")


def link(key: bytes, before: bytes, seq: int, row: Mapping[str, Any]) -> bytes:
    """Chain one row to the one before it: everything it says, its number and its place."""
    return hmac.digest(key, before + _text([seq, *(_plain(row[name]) for name in SEALED)]), "sha256")


def cut_signature(key: bytes, cut: Mapping[str, Any]) -> bytes:
    """Sign where the chain begins after the rows before that were deleted by retention."""
    names = ("seq", "chain", "at", "number", "first_at", "last_at", "last_id", "digest")
    return hmac.digest(key, _CUT + _text([_plain(cut[name]) for name in names]), "sha256")


def _text(said: list[object]) -> bytes:
    return _written(said).encode()


_written: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode


def _plain(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, UUID) else value
