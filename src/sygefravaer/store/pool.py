# SPDX-License-Identifier: MPL-2.0
"""A pool of connections, transactions on them, and what psycopg raises made ours."""

from __future__ import annotations

import contextlib
import select
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from sygefravaer.errors import CommitUnknown, Conflict, StoreError, StoreUnavailable, UsageError

Row = Mapping[str, Any]
"""One row by column name. Its values are typed by the statement; the room that wrote it makes a value of its own."""


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection that notes whether the server has warned since it was last asked."""

    warned: bool = False


_DURABLE: Final = frozenset({"on", "remote_apply"})
_PREPARED: Final = 500  # statements kept prepared per connection: more than the house has
_ONE_INSTANT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_RECONNECT: Final = 10.0  # seconds before a lost server is looked for anew; 60 s is promised


@dataclass(frozen=True, kw_only=True)
class Trail:
    """
    A change that another statement carries, so that all is one round trip and one decision.

    `statement` takes its rows `FROM gate`: the carrier defines `gate` with one row if its own work took place and none
    if not; in lanes the row is the `message_id`. The names of `params` start with the name of the room that wrote the
    statement, and are those of no other trail that goes along; `beside` are others that are carried in the same way.
    """

    statement: str
    params: Mapping[str, object]
    beside: tuple[Trail, ...] = ()

    @property
    def all(self) -> tuple[Trail, ...]:
        """Give this one and all that go along."""
        return self, *(each for other in self.beside for each in other.all)


class Tx:
    """One transaction, or within `Store.read` one statement at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self, statement: str, **params: object) -> int:
        """Carry out `statement` and give the number of rows it touched."""
        with translated():
            return (await self._connection.execute(statement, params)).rowcount

    async def one(self, statement: str, **params: object) -> Row | None:
        """Give the first row, or None."""
        with translated():
            return await (await self._connection.execute(statement, params)).fetchone()

    async def all(self, statement: str, **params: object) -> list[Row]:
        """Give every row."""
        with translated():
            cursor = await self._connection.execute(statement, params)
            return cast("list[Row]", await cursor.fetchall())

    async def many(self, statement: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Carry out `statement` once for each of `rows`, without a round trip between."""
        with translated():
            async with self._connection.cursor() as cursor:
                await cursor.executemany(statement, rows)

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happens inside when it raises, and only that; the transaction stays usable."""
        with translated():
            async with self._connection.transaction():
                yield


class Store:
    """A pool of connections to one schema of one database."""

    def __init__(self, dsn: str, *, schema: str, size: int = 8, patience: float = 5.0) -> None:
        """`size` connections are kept open; `patience` is how long, in seconds, a caller waits for a free one."""
        self.schema = schema
        given = conninfo_to_dict(dsn).get("options") or ""
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            make_conninfo(dsn, options=f"{given} -c search_path={schema}", application_name=f"sygefravaer {schema}"),
            connection_class=Connection,
            min_size=size,
            max_size=size,
            timeout=patience,
            reconnect_timeout=_RECONNECT,
            kwargs={"row_factory": dict_row, "prepare_threshold": 0, "autocommit": True},
            configure=_configure,
            open=False,
        )

    async def open(self, *, timeout: float = 10.0) -> None:  # noqa: ASYNC109  the pool's own time limit
        """Connect, or raise `StoreUnavailable` after `timeout` seconds; a database that commits loosely is refused."""
        with translated():
            try:
                await self._pool.open(wait=True, timeout=timeout)
            except psycopg.Error:
                await self._pool.close()
                raise
        async with self.read() as tx:
            row = await tx.one("SELECT current_setting('synchronous_commit') AS kind")
        if row and row["kind"] not in _DURABLE:
            await self._pool.close()
            raise UsageError(
                "CommitNotDurable",
                f"synchronous_commit is {row['kind']}; one of {', '.join(sorted(_DURABLE))} was wanted: "
                "what is acknowledged must survive a crash.",
            )

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def tx(self) -> AsyncIterator[Tx]:
        """
        Open a transaction: committed when the block ends, rolled back when it raises.

        `StoreUnavailable`: nothing happened. `CommitUnknown`: the connection died in the commit.
        """
        connection = await self._take()
        try:
            await connection.set_autocommit(False)
            try:
                yield Tx(connection)
            except BaseException:
                await _roll_back(connection)
                raise
            await _commit(connection)
        finally:
            if not connection.closed:
                await connection.set_autocommit(True)
            await self._pool.putconn(connection)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """
        Give statements that are each a transaction of their own: one round trip where `tx` takes three.

        A statement that writes is committed when it returns; the block then ends with `CommitUnknown` if the standby
        was not waited for.
        """
        connection = await self._take()
        connection.warned = False
        try:
            yield Tx(connection)
        finally:
            await self._pool.putconn(connection)
        if connection.warned:
            raise CommitUnknown

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Tx]:
        """Give statements that all see the same instant, that of the first, and change nothing."""
        async with self.tx() as tx:
            await tx.run(_ONE_INSTANT)
            yield tx

    async def _take(self) -> Connection:
        """Take a connection that lives: after a restart of the database the dead ones cost no caller anything."""
        with translated():
            while True:
                connection = await self._pool.getconn()
                if await _lives(connection):
                    return connection
                await self._pool.putconn(connection)


async def _configure(connection: Connection) -> None:
    def note(notice: errors.Diagnostic) -> None:
        connection.warned = connection.warned or notice.severity_nonlocalized == "WARNING"

    connection.prepared_max = _PREPARED
    connection.add_notice_handler(note)


async def _lives(connection: Connection) -> bool:
    """Ask the server only if the socket of an idle connection has something to say, which mostly is its end."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        try:
            await AsyncConnectionPool.check_connection(connection)
        except psycopg.Error:
            await connection.close()
    return not connection.closed


async def _commit(connection: Connection) -> None:
    connection.warned = False
    try:
        await connection.commit()
    except psycopg.Error as error:
        if connection.closed or isinstance(error, errors.AdminShutdown | errors.CrashShutdown | errors.QueryCanceled):
            raise CommitUnknown from error
        await _roll_back(connection)
        raise _ours(error) from error
    if connection.warned:  # the wait for the standby was cancelled: committed here, perhaps nowhere else
        raise CommitUnknown


async def _roll_back(connection: Connection) -> None:
    if not connection.closed:
        with contextlib.suppress(psycopg.Error):  # a dead connection has rolled back by itself
            await connection.rollback()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise in the place of what psycopg raises inside an error of ours, without the database's text."""
    try:
        yield
    except psycopg.Error as error:
        raise _ours(error) from error


def _ours(error: psycopg.Error) -> StoreError:
    detail = f"({type(error).__name__})"
    if isinstance(error, errors.UniqueViolation):
        return Conflict(f"({error.diag.constraint_name})")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | errors.ReadOnlySqlTransaction):
        return StoreUnavailable(detail)
    return StoreError(detail)
