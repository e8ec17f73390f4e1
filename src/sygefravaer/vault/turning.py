# SPDX-License-Identifier: MPL-2.0
"""
Changing the keys of a file, step by step, while processes work with it.

A new sealing key is first only known, so that every process can open with it, and then made current. A look-up key is
made current in the same way. Wrapping with another key-encryption key is added first and the old one dropped later, so
that a process starts with either. Each step is one whole file in the place of another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sygefravaer.errors import UsageError
from sygefravaer.vault.keyfile import KEY_BYTES, Keys, locked, name_of, read, write
from sygefravaer.vault.source import KeySource

SETTLE: Final = timedelta(seconds=60)  # after which no process seals with a key that is not current any more
_MOST: Final = 0xFFFF  # a sealed value has two bytes for the number of its key


@dataclass(frozen=True, kw_only=True)
class KeyFile:
    """A key file, and where its key-encryption key comes from."""

    path: Path
    source: KeySource

    def keys(self) -> Keys:
        """Read the keys; raises `UsageError`."""
        return read(self.path, self.source.get())[0]

    def wrappings(self) -> tuple[str, ...]:
        """Give the names of the key-encryption keys that open the file."""
        return tuple(read(self.path, self.source.get())[1])

    def prepare(self, now: datetime) -> int:
        """Add a sealing key that is known and does not seal yet; give its number."""
        with locked(self.path):
            kek, keys = self._single()
            number = max(keys.sealing) + 1
            if number > _MOST:
                raise UsageError("KeysUsedUp", f"{self.path} has given every number that there is.")
            added = {number: os.urandom(KEY_BYTES)}
            self._write(replace(keys, sealing={**keys.sealing, **added}, made={**keys.made, number: now}), kek)
        return number

    def activate(self, number: int, now: datetime) -> None:
        """Let a key that is known seal from now on."""
        with locked(self.path):
            kek, keys = self._single()
            if number not in keys.sealing:
                raise UsageError("KeyUnknown", f"{self.path} has no sealing key of this number.")
            if number != keys.current:
                self._write(replace(keys, current=number, since=now), kek)

    def retire(self, number: int, now: datetime) -> None:
        """Take a key out of the file, for good; whoever asks has seen that no row uses it."""
        with locked(self.path):
            kek, keys = self._single()
            if number not in keys.sealing:
                raise UsageError("KeyUnknown", f"{self.path} has no sealing key of this number.")
            if number == keys.current or now < keys.since + SETTLE:
                raise UsageError("KeyInUse", "This key seals, or did so a moment ago.")
            sealing = {one: key for one, key in keys.sealing.items() if one != number}
            made = {one: at for one, at in keys.made.items() if one != number}
            self._write(replace(keys, sealing=sealing, made=made), kek)

    def rewrap(self, other: KeySource) -> tuple[str, ...]:
        """Wrap the same keys for another key-encryption key as well; give the names of all that open the file now."""
        with locked(self.path):
            kek, keys = self._single()
            new = other.get()
            write(self.path, keys, {name_of(kek): kek, name_of(new): new})
        return self.wrappings()

    def keep_only_own(self) -> tuple[str, ...]:
        """Drop every wrapping but that of this source; give the names of those that are gone."""
        with locked(self.path):
            kek = self.source.get()
            keys, wrapped = read(self.path, kek)
            self._write(keys, kek)
        return tuple(name for name in wrapped if name != name_of(kek))

    def add_lookup(self) -> int:
        """Add a look-up key, and let it hash from now on; those before stay, for rows that keep their hash."""
        with locked(self.path):
            kek, keys = self._single()
            number = max(keys.lookups) + 1
            self._write(replace(keys, lookups={**keys.lookups, number: os.urandom(KEY_BYTES)}, lookup=number), kek)
        return number

    def _single(self) -> tuple[bytes | None, Keys]:
        """Read a file that one key-encryption key opens: nobody can wrap new keys for one he does not have."""
        kek = self.source.get()
        keys, wrapped = read(self.path, kek)
        if len(wrapped) > 1:
            raise UsageError("KekTwo", f"Two key-encryption keys open {self.path}; drop the old one first.")
        return kek, keys

    def _write(self, keys: Keys, kek: bytes | None) -> None:
        write(self.path, keys, {name_of(kek): kek})
