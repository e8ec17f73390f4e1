# SPDX-License-Identifier: MPL-2.0
"""
Where a sandbox may settle: its directory, its lock, what an earlier start has left there, and its ports.

Everything here looks before anything is made, so that a refusal leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sygefravaer.errors import UsageError
from sygefravaer.sandbox.parts import Layout

FORMAT: Final = 1  # of state.json
HOST: Final = "127.0.0.1"
OWN_PORTS: Final = range(20_000, 32_000)
MADE_FIRST: Final = frozenset({"lock", "logs", "keys", "requests", "run", "pki", "database", "cases.json"})
"""What can lie in DIR before state.json does: a first start that failed early is no reason to refuse the next."""


def runs(layout: Layout) -> bool:
    """Say whether a supervisor holds this directory."""
    try:
        with layout.lock.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def ours(layout: Layout) -> bool:
    """Say whether DIR is a sandbox's, or empty."""
    return layout.state.exists() or {path.name for path in layout.directory.iterdir()} <= MADE_FIRST


def look(layout: Layout) -> None:
    """Refuse a directory that is not a sandbox's or cannot be used, before anything is made."""
    directory = layout.directory
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError("DirectoryUnusable", f"{directory} is not a directory.", try_this="Choose another with --dir.")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise UsageError(
            "DirectoryUnusable", f"{directory} may not be read and written by this user.", try_this="Choose --dir."
        )
    if not ours(layout):
        raise UsageError(
            "DirectoryForeign",
            f"{directory} is not empty and is not a sandbox.",
            try_this="Choose an empty or new directory with --dir.",
        )
    read_state(layout)


def read_state(layout: Layout) -> dict[str, Any]:
    """Read what an earlier start has left; empty when there was none."""
    try:
        state = json.loads(layout.state.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise broken(layout, f"{layout.state} cannot be read.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise broken(layout, f"{layout.state} was written by another version.")
    return state


def broken(layout: Layout, what: str) -> UsageError:
    """Say that DIR cannot be gone on with."""
    remove = f"Remove it with `sygefravaer sandbox down --remove --dir {layout.directory}`, and start again."
    return UsageError("DirectoryBroken", what, try_this=remove)


@contextlib.contextmanager
def held(layout: Layout) -> Iterator[None]:
    """Hold DIR against every other supervisor; the lock file says who holds it, and ends with its holder."""
    with layout.lock.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise taken(layout) from error
        lock.truncate(0)
        lock.write(b"%d\n" % os.getpid())
        lock.flush()
        yield


def taken(layout: Layout) -> UsageError:
    """Say that a sandbox runs in DIR."""
    return UsageError(
        "SandboxRuns",
        f"A sandbox already runs in {layout.directory}.",
        try_this="Use it (`sygefravaer sandbox status`), take it down (`sandbox down`), or choose --dir.",
    )


def free_port(claimed: contextlib.ExitStack, wish: int | None) -> int:
    """Choose a port for a part: the wish if it is free."""
    # Below the range that the system hands out for outgoing connections: while a part is down nobody else gets its
    # port, and a connection to it cannot by chance be made from that very port, to itself.
    start = secrets.randbelow(len(OWN_PORTS))
    candidates: list[int] = [*([wish] if wish else []), *OWN_PORTS[start:], *OWN_PORTS[:start]]
    for port in candidates:
        listener = claimed.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind((HOST, port))
            listener.listen(1)
            return port
    raise UsageError("PortInUse", f"No port between {OWN_PORTS[0]} and {OWN_PORTS[-1]} is free on {HOST}.")


def claim_port(claimed: contextlib.ExitStack, port: int, option: str) -> None:
    """Make sure that a port the user chose is free."""
    listener = claimed.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(1)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a port number"
        raise UsageError(
            "PortInUse", f"Port {port} on {HOST} cannot be used ({reason}).", try_this=f"Choose another with {option}."
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
