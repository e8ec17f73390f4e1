# SPDX-License-Identifier: MPL-2.0
"""
The wire of a caller: bytes posted to one address over kept connections, and what was answered.

HTTP/1.1 as far as a SOAP caller needs it, on asyncio's transports: no redirects, proxies, cookies or codings. A
connection carries one exchange at a time; whatever is odd about it (bytes that nobody asked for, an end that came too
soon, a caller who went) ends it, so that no answer can ever meet the wrong question.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sygefravaer.errors import NoAnswer, NotAnEnvelope, SygefravaerError, Unreachable

PIECE: Final = 64 * 1024  # bytes; a longer body is written in pieces, as fast as the other side takes them
LONGEST_HEAD: Final = 64 * 1024  # bytes that may come without a byte of a body among them
RESTED: Final = 1.0  # seconds; a connection that was idle for longer is looked at before it is used
GOODBYE: Final = 1.0  # seconds for the other side's part in ending TLS on an idle connection

_FINAL: Final = 200  # a status below it is followed by another
_PORTS: Final = {"https": 443, "http": 80}
_IN_PATH: Final = "/:@!$&'()*+,;=~%"  # what stays as it is; what was quoted already too


class Response(NamedTuple):
    """What was answered; of a header that came several times, in lower case, the first."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """Posts to one address over at most `limit` connections.

    Who finds them all taken waits for a place, first come, first served, and takes the connection that was used last.
    An idle one is closed after `keep` seconds. `headers` go with each message.
    """

    def __init__(
        self, url: str, *, tls: ssl.SSLContext | None, limit: int, keep: float, headers: Mapping[str, str]
    ) -> None:
        self._limit = limit
        self._keep = keep
        self._address = _Address(url, tls)
        self._head = self._address.request + _lines(headers)
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []  # the one that was used last is last
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._coming: set[asyncio.Timeout] = set()  # of those who wait for a place or a connection
        self._tidying: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None
        self._closed = False

    async def post(
        self, body: bytes, headers: Mapping[str, str], *, seconds: float, connect: float, longest: int
    ) -> Response:
        """Send a body once, and give the whole answer.

        `seconds` are for all of it, `connect` of them for a place, a connection and TLS. Raises `Unreachable` (nothing
        was sent), `NoAnswer` (something may have been), `NotAnEnvelope` (the body has more than `longest` bytes).
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        head = b"%b%bContent-Length: %d\r\n\r\n" % (self._head, _lines(headers), len(body))
        if self._taken < self._limit and (kept := self._kept(now)) is not None:
            connection = kept
            self._taken += 1
        else:
            connection = await self._come(loop, now + min(seconds, connect))
        answer = connection.ask(loop.create_future(), head, body, longest)
        timer = loop.call_at(now + seconds, connection.late)
        try:
            return await answer
        finally:
            timer.cancel()
            if connection.rest():
                self._rest(loop, connection)
            self._leave()

    async def close(self) -> None:
        """Close every connection, for good. Who waits for one learns that nothing was sent."""
        self._closed = True
        if self._tidying is not None:
            self._tidying.cancel()
        loop = asyncio.get_running_loop()
        for patience in self._coming:
            if not patience.expired():
                patience.reschedule(loop.time())
        for connection in tuple(self._open):
            connection.end()
        while self._open or self._coming:
            if self._gone is None or self._gone.done():
                self._gone = loop.create_future()
            await asyncio.shield(self._gone)

    # --- places ---

    def _kept(self, now: float) -> _Connection | None:
        """Give an idle connection that can be used."""
        while self._idle:
            connection = self._idle.pop()
            idle = now - connection.since
            if idle < self._keep and (idle < RESTED or not connection.speaks()):
                return connection
            connection.end()
        return None

    async def _come(self, loop: asyncio.AbstractEventLoop, end: float) -> _Connection:
        """Wait for a place, and give a connection to it."""
        patience = asyncio.timeout_at(end)
        try:
            if self._closed:
                raise Unreachable
            async with patience:
                self._coming.add(patience)
                await self._place(loop)
                try:
                    return self._kept(loop.time()) or await self._connect(loop, end)
                except BaseException:
                    self._leave()
                    raise
        except (OSError, ValueError) as error:  # a TimeoutError is one, and a host that is no name
            raise Unreachable from error
        finally:
            self._coming.discard(patience)
            self._tell_gone()

    async def _place(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._taken < self._limit:
            self._taken += 1
            return
        place = loop.create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self._leave()  # it had just been given to us
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    def _leave(self) -> None:
        """Give the place to whoever has waited longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._taken -= 1

    def _rest(self, loop: asyncio.AbstractEventLoop, connection: _Connection) -> None:
        connection.since = loop.time()
        self._idle.append(connection)
        if self._tidying is None:
            self._tidying = loop.call_later(self._keep, self._tidy, loop)

    def _tidy(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what has been idle for too long; one timer for them all."""
        self._tidying = None
        old = loop.time() - self._keep
        while self._idle and self._idle[0].since <= old:
            self._idle.pop(0).bid_farewell()
        if self._idle:
            self._tidying = loop.call_at(self._idle[0].since + self._keep, self._tidy, loop)

    # --- connections ---

    async def _connect(self, loop: asyncio.AbstractEventLoop, end: float) -> _Connection:
        """Try the host's addresses one after the other: one that swallows what is sent must not use up the time."""
        to = self._address
        failure = OSError("The host has no address.")
        found = await loop.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
        for place, (family, _, _, _, where) in enumerate(found):
            connection = _Connection(self)
            try:
                async with asyncio.timeout((end - loop.time()) / (len(found) - place)):
                    await loop.create_connection(
                        lambda made=connection: made,
                        str(where[0]),
                        to.port,
                        family=family,
                        **to.security,
                    )
            except OSError as error:  # a TimeoutError is one
                connection.end()
                failure = error
            except BaseException:
                connection.end()
                raise
            else:
                return connection
        raise failure

    def made(self, connection: _Connection) -> None:
        """Know of a connection from its first instant on."""
        self._open.add(connection)
        if self._closed:
            connection.end()

    def over(self, connection: _Connection) -> None:
        """Give a connection to nobody any more."""
        if connection in self._idle:
            self._idle.remove(connection)

    def lost(self, connection: _Connection) -> None:
        """Forget a connection that has ended."""
        self._open.discard(connection)
        self._tell_gone()

    def _tell_gone(self) -> None:
        if self._gone is not None and not (self._gone.done() or self._open or self._coming):
            self._gone.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection, and the exchange that is under way on it."""

    def __init__(self, exchange: Exchange) -> None:
        self.since = 0.0  # idle, in the loop's time
        self._exchange = exchange
        self._parser: Any = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._usable = False
        self._answer: asyncio.Future[Response] | None = None
        self._unsent = memoryview(b"")
        self._paused = False
        self._longest = 0
        self._begin()

    # --- what the exchange does with it ---

    def ask(self, answer: asyncio.Future[Response], head: bytes, body: bytes, longest: int) -> asyncio.Future[Response]:
        """Send a request; the future will hold what comes."""
        self._answer, self._longest, self._stray = answer, longest, 0
        self._begin()
        if self._transport is None or not self._usable:  # it ended in the instant in which it was made
            self._fail(Unreachable())
        elif len(body) <= PIECE:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._unsent = memoryview(body)
            self._send_on()
        return answer

    def late(self) -> None:
        """Give up: the time is over."""
        self._fail(TimeoutError())

    def rest(self) -> bool:
        """Come to the end of an exchange, however it ended; say whether there may be another one."""
        answer, self._answer = self._answer, None
        if self._usable and answer is not None and answer.done() and not answer.cancelled():
            return True
        self.end()
        return False

    def speaks(self) -> bool:
        """Tell whether something has come while nothing was asked, its end included, that the loop has not seen yet."""
        if self._transport is None or self._transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def bid_farewell(self) -> None:
        """End in good manners."""
        self._usable = False
        if self._transport is not None:
            self._transport.close()

    def end(self) -> None:
        """End at once."""
        self._usable = False
        self._exchange.over(self)
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, cause: BaseException) -> None:
        error = cause
        if not isinstance(cause, SygefravaerError):
            error = NoAnswer()
            error.__cause__ = cause
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.end()

    # --- what the transport says ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready, with TLS."""
        self._transport = cast("asyncio.Transport", transport)
        self._usable = True
        self._exchange.made(self)

    def data_received(self, data: bytes) -> None:
        """Read on, as long as an answer is awaited."""
        answer = self._answer
        if answer is None or answer.done():
            self.end()
            return
        so_far = self._size
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(error)
            return
        self._stray = 0 if self._size > so_far else self._stray + len(data)
        if self._stray > LONGEST_HEAD and not answer.done():
            self._fail(ValueError("The head is too long."))

    def eof_received(self) -> None:
        """Take the end of the stream for the end of a body that has no other; the transport closes itself."""
        self._usable = False
        self._exchange.over(self)
        if self._answer is not None and not self._answer.done():
            if self._headed and not self._sized:
                self._finish()
            else:
                self._fail(ConnectionResetError())

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        if exc is None:
            self.eof_received()
        else:
            self._fail(exc)
        self._parser = None  # it holds methods of ours
        self._exchange.lost(self)

    def pause_writing(self) -> None:
        """Keep the next piece."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send the next pieces."""
        self._paused = False
        self._send_on()

    def _send_on(self) -> None:
        while self._unsent and self._usable and not self._paused and self._transport is not None:
            piece, self._unsent = self._unsent[:PIECE], self._unsent[PIECE:]
            self._transport.write(piece)

    # --- what the parser says ---

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._headed = self._sized = False
        self._pieces: list[bytes] = []
        self._size = 0

    def on_message_begin(self) -> None:
        """Read an answer; one behind the answer was not asked for."""
        if self._answer is None or self._answer.done():
            self.end()
        else:
            self._begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes behind the body is none."""
        if not self._headed:
            key = name.lower().decode("latin-1")
            self._headers.setdefault(key, value.decode("utf-8", "surrogateescape").strip())
            self._sized = self._sized or key in {"content-length", "transfer-encoding"}

    def on_headers_complete(self) -> None:
        """Expect a body."""
        self._headed = True

    def on_body(self, piece: bytes) -> None:
        """Keep a piece, as long as it is not too much."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._longest:
            self._fail(NotAnEnvelope(f"It is longer than {self._longest} bytes."))

    def on_message_complete(self) -> None:
        """Give the answer, unless it only says that one will come."""
        if self._answer is None or self._answer.done():
            return
        if self._parser.get_status_code() < _FINAL:
            self._begin()
        else:
            self._usable = self._usable and self._parser.should_keep_alive() and not self._unsent
            self._finish()

    def _finish(self) -> None:
        if self._answer is not None:
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._answer.set_result(Response(self._parser.get_status_code(), self._headers, body))


class _Address:
    """An absolute URL, as a connection and a request need it. Raises `ValueError` when it is none."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError("The address has no host.")
        self.host: str = parts.hostname.encode("idna").decode("ascii")
        self.port: int = parts.port or _PORTS[parts.scheme]
        self.security: dict[str, Any] = {}
        if parts.scheme == "https":
            self.security = {
                "ssl": tls or ssl.create_default_context(),
                "server_hostname": self.host.rstrip("."),
                "ssl_shutdown_timeout": GOODBYE,
            }
        name = f"[{self.host}]" if ":" in self.host else self.host
        if self.port != _PORTS[parts.scheme]:
            name = f"{name}:{self.port}"
        target = quote(parts.path, safe=_IN_PATH) or "/"
        if parts.query:
            target += "?" + quote(parts.query, safe=_IN_PATH + "?")
        self.request: bytes = f"POST {target} HTTP/1.1\r\nHost: {name}\r\n".encode("ascii")


def _lines(headers: Mapping[str, str]) -> bytes:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not text.count("\r") == text.count("\n") == len(headers) or "\0" in text:
        raise ValueError("A header holds the end of a line.")
    return text.encode()
