# SPDX-License-Identifier: MPL-2.0
"""
A disk that can be full: a small tmpfs where one may be mounted, else a preloaded library that says that it is.

`fill()` leaves no room, `free()` gives it back. Whoever writes to it is started with `environment`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("enospc.c")
PIECE = 64 * 1024
KINDS = ("tmpfs", "preload")


def mountable() -> bool:
    """Say whether this process may mount a tmpfs."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
        ).returncode:
            return False
        subprocess.run(["umount", place], check=True)
    return True


class Disk:
    """`with Disk(megabytes) as disk`: `path` is a directory on it that everybody may enter."""

    def __init__(self, megabytes: int, *, kind: str | None = None) -> None:
        self.kind = kind or ("tmpfs" if mountable() else "preload")
        self._size = megabytes
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._base = Path(tempfile.mkdtemp(prefix="sf-disk-", dir=tempfile.gettempdir()))
        self._base.chmod(0o755)
        self.path = self._base / "disk"
        self.path.mkdir(mode=0o755)
        if self.kind == "tmpfs":
            size = f"size={self._size}m,mode=0755"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", self.path], check=True)
        else:
            library = self._base / "enospc.so"
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
            self.environment = {
                "LD_PRELOAD": str(library),
                "ENOSPC_BELOW": str(self.path),
                "ENOSPC_WHILE": str(self._base / "full"),
            }
        return self

    def __exit__(self, *_: object) -> None:
        self.free()
        if self.kind == "tmpfs":
            subprocess.run(["umount", "--lazy", self.path], check=True)
        shutil.rmtree(self._base, ignore_errors=True)

    def fill(self) -> None:
        """Leave no room."""
        if self.kind == "preload":
            (self._base / "full").touch(mode=0o644)
            return
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            for size in (PIECE, 1):  # to the last byte
                try:
                    while ballast.write(b"x" * size) == size:
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Give the room back."""
        for path in (self._base / "full", self.path / "ballast"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
