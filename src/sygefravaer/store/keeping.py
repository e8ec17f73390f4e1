# SPDX-License-Identifier: MPL-2.0
"""
Connections at hand: the one that was used last is taken first.

psycopg's pool connects, connects anew and waits for a server that is away. It hands its connections out in turn, so
that each of the server's processes is used now and then and none stays warm, and it asks for locks and writes to its
log each time. So what it has given is kept here and goes round among the callers, until it breaks or grows old.

What a process of the server remembers of tables and plans grows for as long as it lives. So each is renewed after some
minutes, not all in the same moment: a server that has run for weeks holds no more than one that has run for an hour.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from time import monotonic
from typing import Final

from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from sygefravaer.store.asking import Connection

OLD: Final = 300.0  # seconds after which, at the latest, the pool has a connection back
RENEWED: Final = OLD / 2  # seconds after which the pool renews one that it has back


class Kept:
    """At most `size` connections of a pool, each with one caller at a time; callers wait in the order they came."""

    def __init__(self, pool: AsyncConnectionPool[Connection], *, size: int, patience: float) -> None:
        self._pool = pool
        self._size = size
        self._patience = patience
        self._idle: list[Connection] = []
        self._old_at: dict[Connection, float] = {}  # of all that are out of the pool
        self._coming = 0  # that somebody is asking the pool for
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False

    async def take(self) -> Connection:
        """Take a connection; raises `PoolTimeout` when there is none for `patience` seconds."""
        if self._idle and not self._waiting:
            return self._idle.pop()
        until = monotonic() + self._patience
        while True:
            if self._idle:  # of who waits for longer none is left, or each has been told to look
                return self._idle.pop()
            if len(self._old_at) + self._coming < self._size:
                return await self._from_pool(until)
            if (given := await self._next(until)) is not None:
                return given

    async def give(self, connection: Connection) -> None:
        """Give a connection back; one that is broken, old or in the middle of something goes to the pool."""
        idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if not idle or self._closed or monotonic() > self._old_at[connection]:
            await self._drop(connection)
        elif not self._hand(connection):
            self._idle.append(connection)

    async def close(self) -> None:
        """Let the pool have, and close, what is at hand; what is in use follows when it is given back."""
        self._closed = True
        while self._idle:
            await self._drop(self._idle.pop())

    async def _from_pool(self, until: float) -> Connection:
        self._coming += 1
        try:
            connection = await self._pool.getconn(timeout=max(0.001, until - monotonic()))
        except BaseException:
            self._coming -= 1
            self._hand(None)
            raise
        self._coming -= 1
        self._old_at[connection] = monotonic() + random.uniform(RENEWED, OLD)  # noqa: S311  spreads load, guards nothing
        return connection

    async def _drop(self, connection: Connection) -> None:
        del self._old_at[connection]
        try:
            await self._pool.putconn(connection)
        finally:
            self._hand(None)

    def _hand(self, connection: Connection | None) -> bool:
        """Give a connection, or a place for one of the pool's, to whoever waits longest; False when nobody does."""
        while self._waiting:
            mine = self._waiting.popleft()
            if not mine.done():
                mine.set_result(connection)
                return True
        return False

    async def _next(self, until: float) -> Connection | None:
        """Wait for one's turn; None: there is a place for a connection of the pool's."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Connection | None] = loop.create_future()
        timer = loop.call_later(until - monotonic(), _too_late, mine)
        self._waiting.append(mine)
        try:
            return await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:  # it was his in the same instant
                given = mine.result()
                if given is not None:
                    await self.give(given)
                else:
                    self._hand(None)
            raise
        finally:
            timer.cancel()


def _too_late(mine: asyncio.Future[Connection | None]) -> None:
    if not mine.done():
        mine.set_exception(PoolTimeout("no connection became free"))
