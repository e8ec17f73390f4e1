# SPDX-License-Identifier: MPL-2.0
"""
Keys, sealing and keyed hashes: nothing personal lies in the clear.

A key file holds sealing keys by id, the id of the one that seals now, and one look-up key of its own. A sealed value
names its key, so that old values open while a new key seals. A keyed hash (`lookup_key`) finds rows of a citizen
without saying who it is.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sygefravaer.errors import Party, SygefravaerError, UsageError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # NIST SP 800-38D, 8.2: 96 bits is the length GCM is made for
_FORMAT: Final = 1


class CannotOpen(SygefravaerError):
    """A sealed value cannot be opened: its key is not in the key file, it was changed, or it belongs elsewhere."""

    code = "CannotOpen"
    who = Party.OPERATOR


class Vault:
    """Seals, opens and hashes with the keys of one key file."""

    def __init__(self, *, sealing: Mapping[int, bytes], current: int, lookup: bytes) -> None:
        self._ciphers = {number: AESGCM(key) for number, key in sealing.items()}
        self._current = current
        self._prefix = current.to_bytes(2, "big")
        self._lookup = lookup

    @classmethod
    def create_file(cls, path: Path) -> Vault:
        """Make a key file that only its owner can read, and never over another one; durable before it is used."""
        content = {
            "format": _FORMAT,
            "current": 1,
            "sealing": {"1": _text(os.urandom(KEY_BYTES))},
            "lookup": _text(os.urandom(KEY_BYTES)),
        }
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise UsageError("KeyFileExists", f"{path} exists; a key file is never written over.") from error
        except OSError as error:
            raise UsageError("KeyFileUnwritable", f"{path} cannot be written: {error.strerror}.") from error
        with os.fdopen(handle, "w", encoding="ascii") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        return cls.from_file(path)

    @classmethod
    def from_file(cls, path: Path) -> Vault:
        """Read a key file; one that others can read is refused."""
        try:
            mode = path.stat().st_mode
            raw = path.read_text(encoding="ascii")
        except OSError as error:
            raise UsageError("KeyFileUnreadable", f"{path} cannot be read: {error.strerror}.") from error
        if mode & 0o077:
            raise UsageError(
                "KeyFileOpen", f"{path} can be read by others (mode {mode & 0o777:o}); mode 600 was wanted."
            )
        try:
            content = json.loads(raw)
            sealing = {int(number): _key(text) for number, text in content["sealing"].items()}
            current, lookup = int(content["current"]), _key(content["lookup"])
            known = content["format"] == _FORMAT and current in sealing
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError("KeyFileMalformed", f"{path} is not a key file.") from error
        if not known:
            raise UsageError("KeyFileMalformed", f"{path} is not a key file of format {_FORMAT} with its current key.")
        return cls(sealing=sealing, current=current, lookup=lookup)

    def seal(self, data: bytes, *, context: str) -> bytes:
        """Encrypt and authenticate `data` for `context`; layout: key id (2 bytes), nonce (12), AES-256-GCM output."""
        nonce = os.urandom(NONCE_BYTES)
        return self._prefix + nonce + self._ciphers[self._current].encrypt(nonce, data, context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Give back what was sealed for `context`; anything else raises `CannotOpen`."""
        cipher = self._ciphers.get(int.from_bytes(sealed[:2], "big"))
        nonce, body = sealed[2 : 2 + NONCE_BYTES], sealed[2 + NONCE_BYTES :]
        if cipher is None or len(nonce) < NONCE_BYTES:
            raise CannotOpen
        try:
            return cipher.decrypt(nonce, body, context.encode())
        except InvalidTag as error:
            raise CannotOpen from error

    def lookup_key(self, text: str) -> bytes:
        """Hash `text` with the look-up key (HMAC-SHA-256, 32 bytes): equal texts are found, none can be read back."""
        return hmac.digest(self._lookup, text.encode(), "sha256")

    def lookup_keys(self, text: str) -> tuple[bytes, ...]:
        """Hash `text` with every look-up key there is, today's first: for rows that no new key may change."""
        return (self.lookup_key(text),)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii")


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError from error
    if len(key) != KEY_BYTES:
        raise ValueError
    return key
