# SPDX-License-Identifier: MPL-2.0
"""
Keys, sealing and keyed hashes: nothing personal lies in the clear.

A key file holds sealing keys by number, the number of the one that seals now, and look-up keys of their own; all of
them wrapped by a key-encryption key that comes from elsewhere, if the part is given one. A sealed value names its key,
so that old values open while a new key seals. A keyed hash (`lookup_key`) finds rows of a citizen without saying who it
is. A vault reads its file again when it has changed, and when a value names a key that it does not know.
"""

from sygefravaer.vault.keyfile import KEY_BYTES, Keys, Wrapped, create, locked, read, write
from sygefravaer.vault.sealing import NONCE_BYTES, CannotOpen, Vault
from sygefravaer.vault.source import KeySource
from sygefravaer.vault.turning import SETTLE, KeyFile

__all__ = [
    "KEY_BYTES",
    "NONCE_BYTES",
    "SETTLE",
    "CannotOpen",
    "KeyFile",
    "KeySource",
    "Keys",
    "Vault",
    "Wrapped",
    "create",
    "locked",
    "read",
    "write",
]
