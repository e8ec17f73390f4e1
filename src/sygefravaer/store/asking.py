# SPDX-License-Identifier: MPL-2.0
"""
One round trip: a statement to the server and its rows back, with as little between as there can be.

psycopg's cursors make a dozen objects for each statement, and send BEGIN and the like in round trips of their own. Here
a connection keeps what it knows of each statement (its name at the server, its columns) and sends along, in one
pipeline, what is to be done before and after it. Values and rows are psycopg's, and so are connections and errors.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Self, cast

import psycopg
from psycopg import errors, generators
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import DictRow

_PREPARED: Final = 500  # statements kept prepared per connection: more than the house has
_PLACE: Final = re.compile(r"%(?:%|\((\w+)\)s)")
_CANCEL: Final = 5.0  # seconds for the server to end what was cancelled
_FAILED: Final = frozenset({ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED})
_READ: Final = 1  # psycopg's word for a socket that can be read,
_WRITE: Final = 2  # and for one that can be written

Rows = list[dict[str, Any]]


class LateError(psycopg.OperationalError):
    """The server did not answer in time."""


class Connection(psycopg.AsyncConnection[DictRow]):
    """
    A connection that keeps what it knows of its statements.

    It notes whether the server has warned since it was last asked.
    """

    warned: bool = False

    _socket: int | None = None
    _answer: asyncio.Future[None] | None = None
    _heard_of: int = 0

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """
        Connect; an attempt that was given up has let go of its socket when this raises.

        psycopg's error and the frame that raises it hold each other, and the attempt with its socket, until the garbage
        collector comes round: in a quiet process minutes later.
        """
        try:
            return await super().connect(conninfo, **kwargs)
        except psycopg.Error as error:
            traceback.clear_frames(error.__traceback__)
            raise

    @property
    def at_hand(self) -> bool:
        """Say whether the loop watches it, and has heard nothing since the last answer: then the server is there."""
        return self._socket is not None and not self.closed

    def begin_to_ask(self) -> None:
        """Be ready for `ask`; nothing has been asked."""
        self._transformer = Transformer(self)
        self._names: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._given = 0  # names; one whose answer nobody waited for may be the server's, and is not given again
        self._columns: dict[bytes, tuple[str, ...]] = {}
        self._loop = asyncio.get_running_loop()

    async def ask(
        self,
        statement: str,
        params: dict[str, object],
        *,
        limit: float | None,
        before: Sequence[bytes] = (),
        after: Sequence[bytes] = (),
    ) -> tuple[int, Rows]:
        """
        Carry out a statement; give the number of rows it touched, and the rows it gave.

        `before` and `after` are commands without values, which go in the same round trip. What follows a failure is
        not done. Raises what the server says, and `LateError` when it has said nothing for `limit` seconds.
        """
        query, order = _plan(statement)
        values, kinds, formats = self._dumped([params[name] for name in order])
        name = self._names.get((statement, kinds))
        if name is None:
            name = await self._named(statement, query, kinds, before, limit)
            before = ()
        pgconn = self.pgconn
        if not before and not after:
            pgconn.send_query_prepared(name, values, param_formats=formats)
            result = _whole(await self._wait(generators.execute(pgconn), limit))
        else:
            pgconn.enter_pipeline_mode()
            for command in before:
                pgconn.send_query_params(command, None)
            pgconn.send_query_prepared(name, values, param_formats=formats)
            for command in after:
                pgconn.send_query_params(command, None)
            results = await self._synced(len(before) + 1 + len(after), limit)
            result = results[len(before)]
        if result.status != ExecStatus.TUPLES_OK:
            return result.command_tuples or 0, []
        return result.ntuples, self._loaded(name, result)

    async def command(self, *commands: bytes, limit: float | None) -> None:
        """Carry out commands without values in one round trip."""
        pgconn = self.pgconn
        if len(commands) == 1:
            pgconn.send_query(commands[0])
            _whole(await self._wait(generators.execute(pgconn), limit))
            return
        pgconn.enter_pipeline_mode()
        for each in commands:
            pgconn.send_query_params(each, None)
        await self._synced(len(commands), limit)

    async def _named(
        self, statement: str, query: bytes, kinds: tuple[int, ...], before: Sequence[bytes], limit: float | None
    ) -> bytes:
        if before:
            await self.command(*before, limit=limit)
        if len(self._names) >= _PREPARED:
            self._names.clear()
            self._columns.clear()
            await self.command(b"DEALLOCATE ALL", limit=limit)
        self._given += 1
        name = b"s%d" % self._given
        self.pgconn.send_prepare(name, query, param_types=kinds)
        _whole(await self._wait(generators.execute(self.pgconn), limit))
        self._names[statement, kinds] = name
        return name

    def _dumped(self, values: list[object]) -> tuple[Sequence[Any] | None, tuple[int, ...], Sequence[Any] | None]:
        if not values:
            return None, (), None
        transformer = self._transformer
        dumped = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
        return dumped, transformer.types or (), transformer.formats

    def _loaded(self, name: bytes, result: PGresult) -> Rows:
        columns = self._columns.get(name)
        if columns is None:
            columns = self._columns[name] = tuple(
                cast("bytes", result.fname(i)).decode() for i in range(result.nfields)
            )
        transformer = self._transformer
        transformer.set_pgresult(result)
        return [dict(zip(columns, values, strict=True)) for values in transformer.load_rows(0, result.ntuples, tuple)]

    async def _synced(self, number: int, limit: float | None) -> list[PGresult]:
        """Wait for the results of a pipeline; raise the first failure among them, when the pipeline is at its end."""
        pgconn = self.pgconn
        pgconn.pipeline_sync()
        try:
            results: list[PGresult] = await self._wait(_pipelined(pgconn, number), limit)
        finally:
            self._leave_pipeline()
        for result in results:
            if result.status in _FAILED:
                raise errors.error_from_result(result)
        return results

    def _leave_pipeline(self) -> None:
        try:
            self.pgconn.exit_pipeline_mode()
        except psycopg.Error:  # something of it is still to come
            self._hush()
            self.pgconn.finish()

    async def _wait(self, gen: PQGen[Any], limit: float | None) -> Any:
        """Wait for the server; of who is late or cancelled the statement is cancelled too, or the connection goes."""
        try:
            wanted = next(gen)
        except StopIteration as end:
            return end.value
        try:
            return await self._waited(gen, wanted, limit)
        except (asyncio.CancelledError, LateError):
            await self._cancelled(gen)
            raise

    async def _waited(self, gen: PQGen[Any], wanted: int, limit: float | None) -> Any:
        loop = self._loop
        timer = None if limit is None else loop.call_later(limit, self._late)
        self._heard_of = 0
        self._answer = loop.create_future()
        self._listen(wanted)
        try:
            while True:
                await self._answer
                ready, self._heard_of, self._answer = self._heard_of, 0, loop.create_future()
                wanted = gen.send(ready)
                if wanted & _WRITE:
                    self._listen(wanted)
        except StopIteration as end:
            return end.value
        finally:
            self._answer = None
            if timer is not None:
                timer.cancel()
            if self.closed:  # its number may be another's by now
                self._hush()

    # The loop watches the socket all the time, also of a connection that nobody uses: beginning and ending for each
    # statement would cost more than the statement. psycopg's own waiting, and the end, come after a hush.

    def _listen(self, wanted: int = _READ) -> None:
        if self._socket is None:
            self._socket = self.pgconn.socket
            self._loop.add_reader(self._socket, self._can_read)
        if wanted & _WRITE:
            self._loop.add_writer(self._socket, self._can_write)

    def _hush(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = None

    def _can_read(self) -> None:
        if self._answer is None:  # nothing was asked: mostly the server says farewell, and who takes it sees that
            self._hush()
        else:
            self._heard(_READ)

    def _can_write(self) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket)
        self._heard(_WRITE)

    def _heard(self, what: int) -> None:
        self._heard_of |= what
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def _late(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LateError())

    async def wait(self, *args: Any, **options: Any) -> Any:
        """Wait as psycopg does, for what is not asked by `ask`."""
        self._hush()
        return await super().wait(*args, **options)

    async def close(self) -> None:
        """Close it."""
        self._hush()
        await super().close()

    async def _cancelled(self, gen: PQGen[Any]) -> None:
        try:
            await self.cancel_safe(timeout=_CANCEL)
            await self._waited(gen, _READ, _CANCEL)
        except psycopg.errors.QueryCanceled:
            pass  # as it should be
        except BaseException as error:
            self._hush()
            self.pgconn.finish()  # nobody knows what it is doing
            if not isinstance(error, psycopg.Error | OSError):
                raise


def _pipelined(pgconn: PGconn, number: int) -> PQGen[list[PGresult]]:
    results = []
    yield from generators.send(pgconn)
    for _ in range(number):
        found = yield from generators.fetch_many(pgconn)
        results.append(_only(found))
    yield from generators.fetch(pgconn)
    return results


def _only(results: Sequence[PGresult]) -> PGresult:
    if not results:
        raise psycopg.OperationalError("the connection is lost")
    return results[-1]


def _whole(results: Sequence[PGresult]) -> PGresult:
    for result in results:
        if result.status in _FAILED:
            raise errors.error_from_result(result)
    return _only(results)


@lru_cache(maxsize=1000)
def _plan(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Write a statement as PostgreSQL has it, with numbers for names; give the names in their order."""
    order: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        return "%" if found[1] is None else order.setdefault(found[1], f"${len(order) + 1}")

    return _PLACE.sub(place, statement).encode(), tuple(order)
