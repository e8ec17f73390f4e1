# SPDX-License-Identifier: MPL-2.0
"""
The key file: what it holds, and how it is read and written.

Format 2 is a JSON object: `current` and `lookup` (the numbers of the keys that seal and hash now), `since` (since when
`current` seals), `made` (when each sealing key was made), and `keys`, the same keys once for every key-encryption key
that opens them, under its name (the beginning of a keyed hash); under `plain` they stand unwrapped. Wrapping is AES key
wrap (RFC 3394), which also shows that the key that opens is the right one. Format 1 is one set of unwrapped keys.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from sygefravaer.errors import UsageError

KEY_BYTES: Final = 32
PLAIN: Final = "plain"
_FORMAT: Final = 2
_NAME: Final = 8  # bytes of a key-encryption key's name

Wrapped = Mapping[str, Mapping[str, Mapping[str, str]]]
"""The keys as they stand in the file, by the name of what opens them."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of a file, opened."""

    sealing: Mapping[int, bytes] = field(repr=False)
    current: int
    lookups: Mapping[int, bytes] = field(repr=False)
    lookup: int
    since: datetime
    made: Mapping[int, datetime]

    @classmethod
    def fresh(cls, now: datetime) -> Self:
        """Make the first keys."""
        first = {1: os.urandom(KEY_BYTES)}
        lookups = {1: os.urandom(KEY_BYTES)}
        return cls(sealing=first, current=1, lookups=lookups, lookup=1, since=now, made={1: now})


def name_of(kek: bytes | None) -> str:
    """Give the name under which a file holds the keys that this one opens."""
    return PLAIN if kek is None else hmac.digest(kek, b"sygefravaer kek", "sha256")[:_NAME].hex()


def create(path: Path, kek: bytes | None = None) -> Keys:
    """Make a key file that only its owner can read, and never over another one; durable before it is used."""
    keys = Keys.fresh(datetime.now(UTC))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError("KeyFileExists", f"{path} exists; a key file is never written over.") from error
    except OSError as error:
        raise UsageError("KeyFileUnwritable", f"{path} cannot be written: {error.strerror}.") from error
    _fill(handle, _content(keys, {name_of(kek): _wrap(keys, kek)}))
    return keys


def read(path: Path, kek: bytes | None = None) -> tuple[Keys, Wrapped]:
    """Read a key file, and also give its keys as they stand; one that others can read is refused."""
    try:
        mode = path.stat().st_mode
        raw = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII"
        raise UsageError("KeyFileUnreadable", f"{path} cannot be read: {reason}.") from error
    if mode & 0o077:
        raise UsageError("KeyFileOpen", f"{path} can be read by others (mode {mode & 0o777:o}); mode 600 was wanted.")
    try:
        content = json.loads(raw)
        if content["format"] == 1:
            content = _from_first(content)
        wrapped: Wrapped = {name: {kind: dict(keys[kind]) for kind in keys} for name, keys in content["keys"].items()}
        known = content["format"] == _FORMAT
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError("KeyFileMalformed", f"{path} is not a key file.") from error
    name = name_of(kek)
    if known and wrapped and name not in wrapped:
        raise UsageError("KekWrong", f"No keys of {path} are wrapped by the key-encryption key that was given.")
    try:
        keys = _opened(content, wrapped[name], kek)
        known = known and keys.current in keys.sealing and keys.lookup in keys.lookups
    except (ValueError, KeyError, TypeError, AttributeError, InvalidUnwrap) as error:
        raise UsageError("KeyFileMalformed", f"{path} is not a key file.") from error
    if not known:
        text = f"{path} is not a key file of format {_FORMAT} or 1 with its current keys."
        raise UsageError("KeyFileMalformed", text)
    return keys, wrapped


def write(path: Path, keys: Keys, keks: Mapping[str, bytes | None]) -> None:
    """
    Put these keys in the place of those in the file, wrapped for each of `keks` by name; whole or not at all.

    The file stays with its owner, whoever writes it. Raises `UsageError`.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        there = path.stat()
        handle = os.open(new, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600)
        _fill(handle, _content(keys, {name: _wrap(keys, kek) for name, kek in keks.items()}))
        if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, there.st_uid, there.st_gid)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UsageError("KeyFileUnwritable", f"{path} cannot be written: {error.strerror}.") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one command at a time change a key file; raises `UsageError` while another does."""
    try:
        handle = os.open(path.with_name(f"{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError("KeyFileUnwritable", f"{path} cannot be written: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError("KeyFileBusy", f"Another command is changing {path}.") from error
        yield
    finally:
        os.close(handle)


def _content(keys: Keys, wrapped: Wrapped) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "current": keys.current,
        "lookup": keys.lookup,
        "since": keys.since.isoformat(),
        "made": {str(number): made.isoformat() for number, made in keys.made.items()},
        "keys": wrapped,
    }


def _from_first(content: Mapping[str, Any]) -> dict[str, Any]:
    """Read the first format as the second."""
    never = datetime.min.replace(tzinfo=UTC).isoformat()
    sealing = dict(content["sealing"])
    return {
        "format": _FORMAT,
        "current": content["current"],
        "lookup": 1,
        "since": never,
        "made": dict.fromkeys(sealing, never),
        "keys": {PLAIN: {"sealing": sealing, "lookup": {"1": content["lookup"]}}},
    }


def _opened(content: Mapping[str, Any], keys: Mapping[str, Mapping[str, str]], kek: bytes | None) -> Keys:
    return Keys(
        sealing={int(number): _unwrap(text, kek) for number, text in keys["sealing"].items()},
        current=int(content["current"]),
        lookups={int(number): _unwrap(text, kek) for number, text in keys["lookup"].items()},
        lookup=int(content["lookup"]),
        since=datetime.fromisoformat(content["since"]),
        made={int(number): datetime.fromisoformat(made) for number, made in content["made"].items()},
    )


def _wrap(keys: Keys, kek: bytes | None) -> dict[str, dict[str, str]]:
    def wrapped(key: bytes) -> str:
        return base64.b64encode(key if kek is None else aes_key_wrap(kek, key)).decode("ascii")

    return {
        "sealing": {str(number): wrapped(key) for number, key in keys.sealing.items()},
        "lookup": {str(number): wrapped(key) for number, key in keys.lookups.items()},
    }


def _unwrap(text: str, kek: bytes | None) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError from error
    key = raw if kek is None else aes_key_unwrap(kek, raw)
    if len(key) != KEY_BYTES:
        raise ValueError
    return key


def _fill(handle: int, content: Mapping[str, Any]) -> None:
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
