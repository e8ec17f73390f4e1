# SPDX-License-Identifier: MPL-2.0
"""Where the key-encryption key comes from: a file, or whatever a command writes to its standard output."""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sygefravaer.errors import UsageError

KEK_BYTES: Final = 32
_PATIENCE: Final = 30.0  # seconds for the command: a security module may be far away


@dataclass(frozen=True, kw_only=True)
class KeySource:
    """
    A file of the key in base64 (mode 600), or a command with its arguments; neither: keys stand unwrapped.

    The command is run without a shell, and writes the key in base64 to its standard output: so a tool of a security
    module or a key service can be put in.
    """

    file: Path | None = None
    command: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Say whether there is a key at all."""
        return self.file is not None or bool(self.command)

    def get(self) -> bytes | None:
        """Fetch the key; None when keys stand unwrapped. Raises `UsageError`."""
        if self.file is not None:
            return self._decoded(self._read(self.file), str(self.file))
        if self.command:
            return self._decoded(self._ask(), f"the command {self.command[0]}")
        return None

    @staticmethod
    def create_file(path: Path) -> None:
        """Make a new key in a file that only its owner can read, and never over another one."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise UsageError("KekUnwritable", f"{path} cannot be made: {error.strerror}.") from error
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEK_BYTES)))
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            mode, raw = path.stat().st_mode, path.read_bytes()
        except OSError as error:
            raise UsageError("KekUnreadable", f"{path} cannot be read: {error.strerror}.") from error
        if mode & 0o077:
            raise UsageError("KekOpen", f"{path} can be read by others (mode {mode & 0o777:o}); mode 600 was wanted.")
        return raw

    def _ask(self) -> bytes:
        try:
            ended = subprocess.run(  # noqa: S603  the operator's own command, from the settings, without a shell
                self.command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False
            )
        except OSError as error:
            raise UsageError("KekUnreadable", f"{self.command[0]} could not be run: {error.strerror}.") from error
        except subprocess.TimeoutExpired as error:
            raise UsageError("KekUnreadable", f"{self.command[0]} gave no key in {_PATIENCE:g} seconds.") from error
        if ended.returncode:
            raise UsageError("KekUnreadable", f"{self.command[0]} ended with exit code {ended.returncode}.")
        return ended.stdout

    @staticmethod
    def _decoded(raw: bytes, where: str) -> bytes:
        try:
            key = base64.b64decode(raw.strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEK_BYTES:
            raise UsageError("KekMalformed", f"What {where} gave is not {KEK_BYTES} bytes in base64.")
        return key
