# SPDX-License-Identifier: MPL-2.0
"""A pool of connections, transactions on them, and what psycopg raises made ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeVar, cast

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from sygefravaer.errors import CommitUnknown, Conflict, StoreError, StoreUnavailable, UsageError
from sygefravaer.store.asking import Connection, LateError, Rows
from sygefravaer.store.keeping import RENEWED, Kept

Row = Mapping[str, Any]
"""One row by column name. Its values are typed by the statement; the room that wrote it makes a value of its own."""


_DURABLE: Final = frozenset({"on", "remote_apply"})

# In a statement: its commit does not wait for the disk, and is there with the next one that does.
LOOSELY: Final = "set_config('synchronous_commit', 'off', true)"
_UNHEARD: Final = (LateError, errors.AdminShutdown, errors.CrashShutdown, errors.QueryCanceled)
_ONE_INSTANT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_RECONNECT: Final = 10.0  # seconds before a lost server is looked for anew; 60 s is promised
STATEMENT: Final = 10.0  # seconds for one statement or commit: it may wait for a lock, a standby, or nobody at all
_LISTEN_AGAIN: Final = 1.0  # seconds before a listener that lost its connection looks for the server
_STILL_THERE: Final = 20.0  # seconds of silence after which a listener asks whether its server is there
_GONE: Final[Mapping[str, str | int]] = {
    "connect_timeout": 3,  # seconds for each host: one that swallows packets must not use up the time of the others
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds for an answer of the other machine's kernel
}
"""What is asked of every connection unless the DSN says otherwise: a machine that vanished is noticed within 20 s."""

_BEGIN: Final = b"BEGIN"
_COMMIT: Final = b"COMMIT"
_WRITING: Final = re.compile(r"\b(?:INSERT|UPDATE|DELETE)\b")

LOG: Final = logging.getLogger(__name__)

_T = TypeVar("_T")


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


@dataclass(frozen=True, kw_only=True)
class Proviso:
    """
    What must still be so for another statement to do anything, looked at in the same instant as that does its work.

    The names of `params` start with the name of the room that wrote the condition.
    """

    condition: str
    params: Mapping[str, object]


class Tx:
    """
    One transaction, or within `Store.read` one statement at a time.

    A statement that takes longer than `limit` seconds is cancelled at the server, and raises `StoreUnavailable`; one
    that writes and commits by itself raises `CommitUnknown`, since the cancelling may have come too late.
    """

    def __init__(self, connection: Connection, limit: float | None = STATEMENT, *, alone: bool = True) -> None:
        self._connection = connection
        self._limit = limit
        self._alone = alone
        self._before = [] if alone else [_BEGIN]  # commands that go along with the next statement
        self._savepoints = 0
        self._last: tuple[str, dict[str, object]] | None = None

    @property
    def alone(self) -> bool:
        """Say whether each statement is a transaction of its own, and so committed when it returns."""
        return self._alone

    async def run(self, statement: str, **params: object) -> int:
        """Carry out `statement` and give the number of rows it touched."""
        return (await self._ask(statement, params))[0]

    async def one(self, statement: str, **params: object) -> Row | None:
        """Give the first row, or None."""
        _, rows = await self._ask(statement, params)
        return rows[0] if rows else None

    async def all(self, statement: str, **params: object) -> list[Row]:
        """Give every row."""
        _, rows = await self._ask(statement, params)
        return cast("list[Row]", rows)

    async def many(self, statement: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Carry out `statement` once for each of `rows`, without a round trip between."""
        try:
            with translated():
                await self._catch_up()
                async with self._connection.cursor() as cursor:
                    await _within(self._limit, cursor.executemany(statement, rows))
        except StoreUnavailable as error:
            raise self._known(error, statement) from error

    def last(self, statement: str, **params: object) -> None:
        """Leave `statement` for the end of the transaction: it goes in one round trip with the commit."""
        self._last = (statement, params)

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happens inside when it raises, and only that; the transaction stays usable."""
        self._savepoints += 1
        name = b"savepoint_%d" % self._savepoints
        begin = b"SAVEPOINT " + name
        self._before.append(begin)
        try:
            yield
        except BaseException:
            if begin in self._before:  # nothing was asked since
                del self._before[self._before.index(begin) :]
            else:
                self._before.clear()
                await self._undo(b"ROLLBACK TO SAVEPOINT " + name, b"RELEASE SAVEPOINT " + name)
            raise
        if begin in self._before:
            self._before.remove(begin)
        else:
            self._before.append(b"RELEASE SAVEPOINT " + name)

    async def commit(self) -> None:
        """Commit what was asked, if anything was; for `Store.tx`."""
        connection, before = self._connection, self._before
        if self._last is None and _BEGIN in before:
            return
        connection.warned = False
        try:
            if self._last is None:
                await connection.command(*before, _COMMIT, limit=self._limit)
            else:
                await connection.ask(*self._last, limit=self._limit, before=before, after=(_COMMIT,))
        except psycopg.Error as error:
            if connection.closed or isinstance(error, _UNHEARD):
                raise CommitUnknown from error
            await _roll_back(connection)
            raise _ours(error) from error
        if connection.warned:  # the wait for the standby was cancelled: committed here, perhaps nowhere else
            raise CommitUnknown

    async def _ask(self, statement: str, params: dict[str, object]) -> tuple[int, Rows]:
        before = self._before
        if before:
            self._before = []
        if self._last is not None:
            raise RuntimeError("A statement follows the last one of its transaction.")
        try:
            return await self._connection.ask(statement, params, limit=self._limit, before=before)
        except psycopg.Error as error:
            ours = _ours(error)
            raise (self._known(ours, statement, error) if isinstance(ours, StoreUnavailable) else ours) from error

    async def _catch_up(self) -> None:
        """Do what was to go along with the next statement."""
        if self._before:
            before, self._before = self._before, []
            await self._connection.command(*before, limit=self._limit)

    async def _undo(self, *commands: bytes) -> None:
        connection = self._connection
        if not connection.closed:
            try:
                await connection.command(*commands, limit=STATEMENT)
            except psycopg.Error:
                await connection.close()

    def _known(self, error: StoreError, statement: str, cause: BaseException | None = None) -> StoreError:
        """Give what is known after a failure: of a statement that commits by itself perhaps nothing."""
        unheard = self._connection.closed or isinstance(cause or error.__cause__, LateError)
        return CommitUnknown() if unheard and self._alone and _writes(statement) else error


class Store:
    """A pool of connections to one schema of one database."""

    def __init__(self, dsn: str, *, schema: str, size: int = 8, patience: float = 5.0) -> None:
        """`size` connections are kept open; `patience` is how long, in seconds, a caller waits for a free one."""
        self.schema = schema
        self._conninfo = _conninfo(dsn, schema)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            connection_class=Connection,
            min_size=size,
            max_size=size,
            timeout=patience,
            max_lifetime=RENEWED,
            reconnect_timeout=_RECONNECT,
            kwargs={"row_factory": dict_row, "prepare_threshold": None, "autocommit": True},
            configure=_configure,
            open=False,
        )
        self._kept = Kept(self._pool, size=size, patience=patience)

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
        await self._kept.close()
        await self._pool.close()

    def tx(self, *, limit: float | None = STATEMENT) -> AbstractAsyncContextManager[Tx]:
        """
        Open a transaction: committed when the block ends, rolled back when it raises.

        `StoreUnavailable`: nothing happened. `CommitUnknown`: the connection died in the commit, or the commit took
        longer than `limit` seconds, which are also those of each statement.
        """
        return _Transaction(self, limit)

    def read(self) -> AbstractAsyncContextManager[Tx]:
        """
        Give statements that are each a transaction of their own: one round trip where `tx` takes three.

        A statement that writes is committed when it returns; the block then ends with `CommitUnknown` if the standby
        was not waited for.
        """
        return _Statements(self)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Tx]:
        """Give statements that all see the same instant, that of the first, and change nothing."""
        async with self.tx() as tx:
            await tx.run(_ONE_INSTANT)
            yield tx

    async def notify(self, channel: str) -> None:
        """Wake whoever listens at `channel` of this schema, in any process; nothing is written by it."""
        async with self.read() as tx:
            await tx.run("SELECT pg_notify(%(channel)s, '')", channel=self._channel(channel))

    async def listen(self, channel: str, heard: Callable[[], None]) -> None:
        """
        Call `heard` at every `notify` of `channel`, until cancelled, over a connection of its own.

        It never fails: a database that is away is looked for again, at every host of the DSN. `heard` is called at each
        (re)connection too, since something may have been missed. Who listens must also look by himself now and then.
        """
        while True:
            try:
                await self._listened(channel, heard)
            except (psycopg.Error, OSError) as error:
                LOG.warning("listener.lost", extra={"schema": self.schema, "kind": type(error).__name__})
            await asyncio.sleep(_LISTEN_AGAIN)

    async def _listened(self, channel: str, heard: Callable[[], None]) -> None:
        listen = sql.SQL("LISTEN {}").format(sql.Identifier(self._channel(channel)))
        connection = await Connection.connect(self._conninfo, autocommit=True)
        try:
            while True:
                await _within(
                    STATEMENT, connection.execute(listen)
                )  # again now and then: a server that vanished says nothing
                heard()
                async for _ in connection.notifies(timeout=_STILL_THERE):
                    heard()
        finally:
            await connection.close()

    def _channel(self, channel: str) -> str:
        return f"{self.schema}.{channel}"

    async def take(self) -> Connection:
        """Take a connection that lives: after a restart of the database the dead ones cost no caller anything."""
        try:
            while True:
                connection = await self._kept.take()
                try:
                    if connection.at_hand or await _lives(connection):
                        return connection
                except BaseException:  # whoever goes while it is looked at takes it not along
                    await self._kept.give(connection)
                    raise
                await self._kept.give(connection)
        except psycopg.Error as error:
            raise _ours(error) from error

    async def give(self, connection: Connection) -> None:
        """Give back what `take` gave."""
        await self._kept.give(connection)


# Classes, where a generator would be shorter: a statement is asked in each of them, and half of that would be theirs.


class _Transaction:
    """The block of `Store.tx`."""

    def __init__(self, store: Store, limit: float | None) -> None:
        self._store = store
        self._limit = limit

    async def __aenter__(self) -> Tx:
        self._connection = await self._store.take()
        self._tx = Tx(self._connection, self._limit, alone=False)
        return self._tx

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._tx.commit()
            else:
                await _roll_back(self._connection)
                await _leave_if_read_only(self._connection, error)
        finally:
            await self._store.give(self._connection)


class _Statements:
    """The block of `Store.read`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __aenter__(self) -> Tx:
        self._connection = await self._store.take()
        self._connection.warned = False
        return Tx(self._connection)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._connection
        unknown = connection.warned  # read before another has the connection
        try:
            if error is not None:
                await _leave_if_read_only(connection, error)
        finally:
            await self._store.give(connection)
        if unknown and (error is None or (isinstance(error, Exception) and not isinstance(error, CommitUnknown))):
            raise CommitUnknown from error  # whatever else was found: that comes first


def _conninfo(dsn: str, schema: str) -> str:
    """Add to a connection string what every connection of ours is told."""
    given = conninfo_to_dict(dsn)
    wanted: dict[str, str | int] = {name: value for name, value in _GONE.items() if name not in given}
    if "," in f"{given.get('host') or ''}{given.get('hostaddr') or ''}" and "target_session_attrs" not in given:
        wanted["target_session_attrs"] = "read-write"  # of several hosts one is the primary
    return make_conninfo(
        dsn,
        options=f"{given.get('options') or ''} -c search_path={schema}",
        application_name=f"sygefravaer {schema}",
        **wanted,
    )


def _writes(statement: str) -> bool:
    return _WRITING.search(statement) is not None


async def _leave_if_read_only(connection: Connection, error: BaseException) -> None:
    """Close a connection to a server that is no primary any more, so that the next one finds the new one."""
    if isinstance(error.__cause__, errors.ReadOnlySqlTransaction):
        await connection.close()


async def _configure(connection: Connection) -> None:
    def note(notice: errors.Diagnostic) -> None:
        connection.warned = connection.warned or notice.severity_nonlocalized == "WARNING"

    connection.add_notice_handler(note)
    connection.begin_to_ask()


async def _within(limit: float | None, work: Awaitable[_T]) -> _T:
    """Wait for the server, but not for ever: psycopg then has it cancelled, or lets the connection go."""
    try:
        async with asyncio.timeout(limit):
            return await work
    except TimeoutError as error:
        raise LateError from error


async def _lives(connection: Connection) -> bool:
    """Ask the server only if the socket of an idle connection has something to say, which mostly is its end."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        try:
            await _within(STATEMENT, AsyncConnectionPool.check_connection(connection))
        except psycopg.Error:
            await connection.close()
    return not connection.closed


async def _roll_back(connection: Connection) -> None:
    if not connection.closed:
        try:
            await _within(STATEMENT, connection.rollback())
        except psycopg.Error:  # a dead connection rolls back by itself
            await connection.close()


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
