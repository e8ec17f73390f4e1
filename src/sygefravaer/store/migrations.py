# SPDX-License-Identifier: MPL-2.0
"""
Running migrations: each room's, in order, all or nothing, one process at a time; under traffic too.

A node of the version before may be at work on the same schema. So a migration waits only briefly for a lock, gives way
and begins anew, and must leave the statements of the version before right (`docs/decisions/0014-nodes.md`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import psycopg
from psycopg import errors

from sygefravaer.errors import MigrationError, StoreError
from sygefravaer.store.pool import Store, Tx

LOG: Final = logging.getLogger(__name__)

# A migration waits less for a lock than PostgreSQL's deadlock_timeout (1 s), so that in a tangle with traffic it is the
# migration that gives way; and whoever queues behind it waits no longer than that.
_LOCK_PATIENCE: Final = "SET LOCAL lock_timeout = '800ms'"
_AGAIN: Final = 1.0  # seconds until a migration that gave way begins anew
_PATIENCE: Final = 60.0  # seconds after which a migration that always gives way is an error

_MIGRATION_TABLE: Final = """
CREATE TABLE IF NOT EXISTS migration (
    room text NOT NULL,
    number integer NOT NULL,
    digest bytea NOT NULL,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (room, number)
)
"""


class _InTheWay(StoreError):
    """Something else holds a lock that a migration needs."""


async def migrate(
    store: Store, rooms: Sequence[tuple[str, Sequence[str]]], *, now: datetime, patience: float = _PATIENCE
) -> list[str]:
    """
    Bring the schema to what this version of the program wants; give what was done, as `room 1`.

    `rooms` is each room's name and its migrations, in the order in which they are to run. All or nothing, one process
    at a time. A migration that was changed after it ran, or a database that a newer version has been at, raises
    `MigrationError` and changes nothing. Where traffic holds a lock it gives way, and tries again for `patience` s.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        try:
            return await _migrate(store, rooms, now)
        except _InTheWay as error:
            if loop.time() + _AGAIN > end:
                raise MigrationError(f"{error.detail} It could not be had in {patience:g} seconds.") from error
            LOG.info("migration.gave_way", extra={"schema": store.schema, "reason": error.detail})
        await asyncio.sleep(_AGAIN)


async def _migrate(store: Store, rooms: Sequence[tuple[str, Sequence[str]]], now: datetime) -> list[str]:
    done: list[str] = []
    async with store.tx(limit=None) as tx:  # as long as it takes, or as another process does
        await tx.one("SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))", name=f"migrate {store.schema}")
        await tx.run(_LOCK_PATIENCE)
        await tx.run(_MIGRATION_TABLE)
        there = {
            (row["room"], row["number"]): bytes(row["digest"])
            for row in await tx.all("SELECT room, number, digest FROM migration")
        }
        for room, texts in rooms:
            for number, text in enumerate(texts, start=1):
                digest = digest_of(text)
                kept = there.pop((room, number), None)
                if kept is None:
                    await _apply(tx, room, number, text)
                    await tx.run(
                        "INSERT INTO migration (room, number, digest, applied_at)"
                        " VALUES (%(room)s, %(number)s, %(digest)s, %(now)s)",
                        room=room,
                        number=number,
                        digest=digest,
                        now=now,
                    )
                    done.append(f"{room} {number}")
                elif kept != digest:
                    raise MigrationError(f"Migration {room} {number} was changed after it ran; add a new one instead.")
        if there:
            room, number = min(there)
            raise MigrationError(
                f"The database has migration {room} {number}, which this version does not know: it is newer. "
                "Start a version at least as new as the one that was here before."
            )
    return done


def digest_of(text: str) -> bytes:
    """Give what a migration is known by after it ran."""
    return hashlib.sha256(text.encode()).digest()


async def _apply(tx: Tx, room: str, number: int, text: str) -> None:
    try:
        await tx._connection.execute(text, prepare=False)  # noqa: SLF001  several statements
    except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
        raise _InTheWay(f"Migration {room} {number} needs a lock that other work holds.") from error
    except psycopg.Error as error:
        raise MigrationError(f"Migration {room} {number} failed ({type(error).__name__}).") from error
