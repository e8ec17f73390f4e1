# SPDX-License-Identifier: MPL-2.0
"""Sealing, opening and hashing with the keys of a file, which may change while a process runs."""

from __future__ import annotations

import hmac
import logging
import os
import threading
from pathlib import Path
from time import monotonic
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sygefravaer.errors import Party, SygefravaerError, UsageError
from sygefravaer.vault import keyfile
from sygefravaer.vault.keyfile import Keys
from sygefravaer.vault.source import KeySource

LOG: Final = logging.getLogger(__name__)

NONCE_BYTES: Final = 12  # NIST SP 800-38D, 8.2: 96 bits is the length GCM is made for
LOOK: Final = 1.0  # seconds of machine time between looks at the file
AGAIN: Final = 30.0  # and until a file that could not be read is tried again: its key may be far away


class CannotOpen(SygefravaerError):
    """A sealed value cannot be opened: its key is not in the key file, it was changed, or it belongs elsewhere."""

    code = "CannotOpen"
    who = Party.OPERATOR


class _Ring:
    """Keys, ready for use."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.ciphers = {number: AESGCM(key) for number, key in keys.sealing.items()}
        self.prefix = keys.current.to_bytes(2, "big")
        older = sorted((number for number in keys.lookups if number != keys.lookup), reverse=True)
        self.lookups = tuple(keys.lookups[number] for number in (keys.lookup, *older))


class Vault:
    """
    Seals, opens and hashes with the keys of one key file.

    The file is looked at each second while there is something to seal: a key that was added opens, one that was made
    current seals. A value that names an unknown key makes the vault look at once, so two processes with one file never
    fail each other. A file that has become wrong is told in the log, and the keys that were read stay in use.
    """

    def __init__(self, keys: Keys, *, path: Path, source: KeySource, kek: bytes | None) -> None:
        self._ring = _Ring(keys)
        self._path = path
        self._source = source
        self._kek = kek
        self._seen = _stamp(path)
        self._look_at = monotonic() + LOOK
        self._failed: tuple[object, float] = (None, 0.0)
        self._reading = threading.Lock()

    @classmethod
    def create_file(cls, path: Path, source: KeySource | None = None) -> Vault:
        """Make a key file that only its owner can read, and never over another one; durable before it is used."""
        source = source or KeySource()
        kek = source.get()
        return cls(keyfile.create(path, kek), path=path, source=source, kek=kek)

    @classmethod
    def from_file(cls, path: Path, source: KeySource | None = None) -> Vault:
        """Read a key file; one that others can read is refused."""
        source = source or KeySource()
        kek = source.get()
        return cls(keyfile.read(path, kek)[0], path=path, source=source, kek=kek)

    @property
    def current(self) -> int:
        """The number of the key that seals now."""
        return self._fresh().keys.current

    def seal(self, data: bytes, *, context: str) -> bytes:
        """Encrypt and authenticate `data` for `context`; layout: key number (2 bytes), nonce (12), AES-256-GCM."""
        ring = self._fresh()
        nonce = os.urandom(NONCE_BYTES)
        return ring.prefix + nonce + ring.ciphers[ring.keys.current].encrypt(nonce, data, context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Give back what was sealed for `context`; anything else raises `CannotOpen`."""
        number = int.from_bytes(sealed[:2], "big")
        cipher = self._ring.ciphers.get(number) or self._after_a_look().ciphers.get(number)
        nonce, body = sealed[2 : 2 + NONCE_BYTES], sealed[2 + NONCE_BYTES :]
        if cipher is None or len(nonce) < NONCE_BYTES:
            raise CannotOpen
        try:
            return cipher.decrypt(nonce, body, context.encode())
        except InvalidTag as error:
            raise CannotOpen from error

    def lookup_key(self, text: str) -> bytes:
        """Hash `text` with the look-up key (HMAC-SHA-256, 32 bytes): equal texts are found, none can be read back."""
        return hmac.digest(self._fresh().lookups[0], text.encode(), "sha256")

    def lookup_keys(self, text: str) -> tuple[bytes, ...]:
        """Hash `text` with every look-up key there is, today's first: for rows that no new key may change."""
        return tuple(hmac.digest(key, text.encode(), "sha256") for key in self._fresh().lookups)

    # --- the file, again ---

    def _fresh(self) -> _Ring:
        if monotonic() >= self._look_at:
            self._after_a_look()
        return self._ring

    def _after_a_look(self) -> _Ring:
        """Read the file again if it has changed; only one thread does, and one that comes meanwhile waits for it."""
        with self._reading:
            self._look_at = monotonic() + LOOK
            stamp, (failed, again_at) = _stamp(self._path), self._failed
            if stamp in {None, self._seen} or (stamp == failed and monotonic() < again_at):
                return self._ring
            try:
                self._ring, self._seen = _Ring(self._read()), stamp
                LOG.info("vault.read", extra={"current": self._ring.keys.current})
            except UsageError as error:
                self._failed = (stamp, monotonic() + AGAIN)
                LOG.error("vault.unreadable", extra={"code": error.code})  # noqa: TRY400  the code says it all
        return self._ring

    def _read(self) -> Keys:
        """Read the file with the key-encryption key as it was; only when that does not open it, fetch it again."""
        try:
            return keyfile.read(self._path, self._kek)[0]
        except UsageError as error:
            if error.code != "KekWrong":
                raise
        self._kek = self._source.get()
        return keyfile.read(self._path, self._kek)[0]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Give what changes when a file is put in the place of another; None when it cannot be seen."""
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_ino
