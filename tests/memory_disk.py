# SPDX-License-Identifier: MPL-2.0
"""
Where the tests' databases lie: in memory where there is room, else in the directory for what is temporary.

The tests make and drop tables by the ten thousand, each some files; a disk that takes care not to use a deleted file's
place at once spends more time on that than the server on everything else. What the server promises stays as it is:
`fsync` is on, and what a killed server or a cut disk means is tried on a disk (`ordeal`, `test_store.py`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from sygefravaer.store import EmbeddedServer

_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 4 << 30  # bytes that must be free: several servers, each with tables and a log that is kept small
_LOG: Final = "256MB"


def place() -> Path:
    """Give the directory in which to make a server's directory."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM:
        return _MEMORY
    return Path(tempfile.gettempdir())


@contextmanager
def server_directory() -> Iterator[Path]:
    """Give a directory for a server, and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="sf-tests-", dir=place()) as directory:
        yield Path(directory)


def make_quick(server: EmbeddedServer) -> None:
    """
    Let a running server clear its log away early, and sign in without the work that makes guessing dear.

    What lies in memory is dear; and the tests open ten thousand connections, each with 4096 rounds of a hash. They sign
    in with passwords all the same.
    """
    password = conninfo_to_dict(server.superuser_dsn())["password"]
    with psycopg.connect(server.superuser_dsn(), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET max_wal_size = '{_LOG}'")
        connection.execute("ALTER SYSTEM SET scram_iterations = 1")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SET scram_iterations = 1")
        connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(password)))
