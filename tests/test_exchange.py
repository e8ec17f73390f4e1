# SPDX-License-Identifier: MPL-2.0
"""Exchanges with a far side that does on the wire whatever it likes, on both event loops."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from sygefravaer import exchange as exchange_room
from sygefravaer.client import client_tls
from sygefravaer.endpoint import server_tls
from sygefravaer.errors import NoAnswer, NotAnEnvelope, Unreachable
from sygefravaer.exchange import Exchange, Response
from sygefravaer.sandbox.pki import Issued, Pki

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Let it go on asyncio's own loop and on the one that the processes run on; nothing is left over."""

    @functools.wraps(test)
    def run(loop: str, **given: Any) -> None:
        complaints: list[Any] = []

        async def whole() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            await test(**given)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(whole())
        assert complaints == []

    own = [inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)]
    run.__signature__ = inspect.Signature([*inspect.signature(test).parameters.values(), *own])
    del run.__wrapped__
    return pytest.mark.parametrize("loop", LOOPS)(run)


class Heard(asyncio.Protocol):
    """One connection at the far side: what came, read by read, and whether it has ended."""

    def __init__(self, far: Far) -> None:
        self.far = far
        self.reads: list[bytes] = []
        self.pending = b""
        self.requests: list[bytes] = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.far.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)
        self.pending += data
        head, found, body = self.pending.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(body) == length:
                self.requests.append(self.pending)
                self.pending = b""
                self.far.came.release()
                self.far.answer(self)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


class Far:
    """The far side: `answer` is called with the connection when a request has come whole."""

    def __init__(self, answer: Callable[[Heard], object] | bytes = OK) -> None:
        self.answer = answer if callable(answer) else lambda heard: heard.write(answer)
        self.connections: list[Heard] = []
        self.came = asyncio.Semaphore(0)

    @property
    def requests(self) -> list[int]:
        return [len(one.requests) for one in self.connections]


@asynccontextmanager
async def far_side(
    answer: Callable[[Heard], object] | bytes = OK, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Far, int]]:
    far = Far(answer)
    server = await asyncio.get_running_loop().create_server(lambda: Heard(far), host, 0, ssl=tls)
    try:
        yield far, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in far.connections:
            one.transport.abort()
            await one.ended
        await server.wait_closed()


@asynccontextmanager
async def calling(port: int, *, limit: int = 4, keep: float = 30.0, **more: Any) -> AsyncIterator[Exchange]:
    url = more.pop("url", f"http://127.0.0.1:{port}/x")
    exchange = Exchange(url, tls=more.get("tls"), limit=limit, keep=keep, headers={"Accept": "text/xml"})
    try:
        yield exchange
    finally:
        await asyncio.wait_for(exchange.close(), 5)


def post(exchange: Exchange, body: bytes = b"<a/>", **more: Any) -> asyncio.Task[Response]:
    limits = {"seconds": 5.0, "connect": 5.0, "longest": 10_000_000} | more
    return asyncio.ensure_future(exchange.post(body, {"SOAPAction": '""'}, **limits))


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not what():
            await asyncio.sleep(0.002)


def silent(heard: Heard) -> None:
    """Never answer."""


# --- what goes out ---


@on_both_loops
async def test_a_request() -> None:
    """It holds what was given and nothing else, on the kept connection too."""
    async with far_side() as (far, port), calling(port) as exchange:
        for _ in range(2):
            assert await post(exchange) == (200, {"content-length": "2"}, b"OK")
        request = (
            f"POST /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/xml\r\n"
            'SOAPAction: ""\r\nContent-Length: 4\r\n\r\n<a/>'
        )
        assert [one.reads for one in far.connections] == [[request.encode()] * 2]


@on_both_loops
async def test_a_request_is_one_write(pki: Pki) -> None:
    """Head and body leave together: a request is one record of TLS."""
    own = pki.issue("Den der kalder", "29189846")
    context = server_tls(own.certificate, own.key, pki.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where a record of data is known by its type
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        tls = client_tls(own.certificate, own.key, pki.ca)
        async with calling(port, url=f"https://127.0.0.1:{port}/x", tls=tls) as exchange:
            asked = post(exchange)
            peer, _ = await loop.sock_accept(listener)
            came, goes, records = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
            secured, request = context.wrap_bio(came, goes, server_side=True), b""
            with peer:
                while not request.endswith(b"<a/>"):
                    received = await loop.sock_recv(peer, 65536)
                    records += received
                    came.write(received)
                    try:
                        secured.do_handshake()
                        while True:
                            request += secured.read()
                    except ssl.SSLWantReadError:
                        pass
                    await loop.sock_sendall(peer, goes.read())
                secured.write(OK)
                await loop.sock_sendall(peer, goes.read())
                assert (await asked).body == b"OK"
    kinds = []
    while records:
        kinds.append(records[0])
        records = records[5 + int.from_bytes(records[3:5], "big") :]
    assert kinds.count(23) == 1


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://{}:{}", "/", "127.0.0.1:{}"),
        ("http://u@{}:{}/a b/%C3%A6/ø?q=1&ø=[2]#x", "/a%20b/%C3%A6/%C3%B8?q=1&%C3%B8=%5B2%5D", "127.0.0.1:{}"),
        ("http://[::1]:{1}/x", "/x", "[::1]:{}"),
    ],
)
@on_both_loops
async def test_an_address_on_the_wire(url: str, target: str, host: str) -> None:
    """Target and Host are those of the URL; an IPv6 address stands in brackets."""
    async with (
        far_side(host="::1" if "::1" in url else "127.0.0.1") as (far, port),
        calling(port, url=url.format("127.0.0.1", port)) as exchange,
    ):
        await post(exchange)
        line, host_line = far.connections[0].reads[0].decode().split("\r\n")[:2]
    assert (line, host_line) == (f"POST {target} HTTP/1.1", f"Host: {host.format(port)}")


def test_ports_that_need_not_be_said() -> None:
    """The scheme's own port is called, and not named; without one the scheme's own is meant."""
    heads = {
        url: exchange_room._Address(url, None)
        for url in ("https://kommune.dk/", "https://kommune.dk:443/", "http://kommune.dk/", "https://kommune.dk:80/")
    }
    assert [one.port for one in heads.values()] == [443, 443, 80, 80]
    hosts = [one.request.split(b"\r\n")[1] for one in heads.values()]
    assert hosts == [b"Host: kommune.dk"] * 3 + [b"Host: kommune.dk:80"]


@pytest.mark.parametrize(
    "url", ["https:///x", "https://a:b/", "https://a:99999/", f"https://{'a' * 64}.dk/", "https://["]
)
def test_what_is_no_address(url: str) -> None:
    """Without a host or with a port that is none there is nobody to call."""
    with pytest.raises(ValueError):
        Exchange(url, tls=None, limit=1, keep=1, headers={})


@on_both_loops
async def test_a_header_that_would_be_two() -> None:
    """The end of a line in a header is never written."""
    async with far_side() as (far, port), calling(port) as exchange:
        for value in ("a\r\nB: c", "a\nB", "a\r", "a\0"):
            with pytest.raises(ValueError):
                await exchange.post(b"", {"A": value}, seconds=1, connect=1, longest=1)
        assert far.connections == []


@on_both_loops
async def test_a_long_body_goes_in_pieces() -> None:
    """It is written as fast as the other side takes it, and arrives whole."""
    body = bytes(range(256)) * 16 * 1024

    def slow(heard: Heard) -> None:
        heard.write(OK)

    async with far_side(slow) as (far, port), calling(port) as exchange:
        first = post(exchange, body)
        await until(lambda: far.connections and far.connections[0].reads)
        far.connections[0].transport.pause_reading()
        await asyncio.sleep(0.05)
        transport = next(iter(exchange._open))._transport
        assert transport.get_write_buffer_size() < len(body) / 4
        far.connections[0].transport.resume_reading()
        await first
        await post(exchange)
        assert far.connections[0].requests[0].endswith(b"\r\n\r\n" + body)
        assert far.requests == [2]


@on_both_loops
async def test_an_answer_before_the_body_has_left() -> None:
    """It is given, and the rest of the body is nobody's: the connection is not used again."""

    async with far_side() as (far, port), calling(port) as exchange:
        early = post(exchange, b"x" * 32 * 1024 * 1024)
        await until(lambda: far.connections and far.connections[0].reads)
        far.connections[0].transport.pause_reading()
        far.connections[0].write(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
        assert (await early).status == 413
        far.connections[0].transport.resume_reading()
        assert (await post(exchange)).status == 200
        assert far.requests == [0, 1]


# --- what comes in ---

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nA: trailer\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body", "connections"),
    [
        (OK, b"OK", 1),
        (CHUNKED, b"abcdefg", 1),
        (CONTINUE + b"HTTP/1.1 103 Early\r\n\r\n" + OK, b"OK", 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", 1),
        (OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), b"OK", 2),
        (OK.replace(b"1.1", b"1.0"), b"OK", 2),
        (OK.replace(b"1.1 200 OK", b"1.0 200 OK\r\nConnection: keep-alive"), b"OK", 1),
    ],
)
@pytest.mark.parametrize("sliced", [False, True])
@on_both_loops
async def test_ways_of_answering(answer: bytes, body: bytes, connections: int, sliced: bool) -> None:
    """By length, in chunks or without a body, whole or byte by byte; whether the connection is kept is the other's say."""

    def slices(heard: Heard) -> None:
        def go_on(rest: bytes) -> None:
            heard.write(rest[:1])
            if rest[1:]:
                asyncio.get_running_loop().call_soon(go_on, rest[1:])

        go_on(answer)

    async with far_side(slices if sliced else answer) as (far, port), calling(port) as exchange:
        for _ in range(2):
            response = await post(exchange)
            assert response.body == body
            assert not {"a", "x"} & response.headers.keys()
        assert len(far.connections) == connections


@pytest.mark.parametrize("body", [b"", b"until the end"])
@on_both_loops
async def test_a_body_until_the_connection_ends(body: bytes) -> None:
    """Without length and chunks the end of the connection is the end of the body."""

    def close(heard: Heard) -> None:
        heard.write(b"HTTP/1.1 500 X\r\nA: first\r\na: second\r\n\r\n" + body)
        heard.transport.close()

    async with far_side(close) as (far, port), calling(port) as exchange:
        for _ in range(2):
            assert await post(exchange) == (500, {"a": "first"}, body)
        assert far.requests == [1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED[:-2],
        CHUNKED[:50],
        OK[:-1],
        OK[:20],
        CONTINUE,
        CHUNKED.replace(b"4\r\n", b"x\r\n"),
        OK.replace(b"Content-Length: 2", b"Content-Length: 2\r\nTransfer-Encoding: chunked"),
        OK.replace(b"Content-Length: 2", b"Content-Length: -2"),
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ],
)
@on_both_loops
async def test_answers_that_are_none(answer: bytes) -> None:
    """Cut short, malformed, or the beginning of something else: nobody knows what became of the message."""

    def close(heard: Heard) -> None:
        heard.write(answer)
        heard.transport.close()

    async with far_side(close) as (far, port), calling(port) as exchange:
        with pytest.raises(NoAnswer) as failure:
            await post(exchange)
        assert not isinstance(failure.value.__cause__, TimeoutError)
        assert far.requests == [1]


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nA: ", b"a" * 1024),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 200),
        (b"", CONTINUE * 30),
        (CHUNKED[:-4], b"x" * 1024),
    ],
)
@on_both_loops
async def test_a_head_without_end(start: bytes, more: bytes) -> None:
    """No more of it is kept than any server has reason to send, be it a line, many, interim answers or a trailer."""
    sent = 0

    def endless(heard: Heard) -> None:
        nonlocal sent
        if not heard.transport.is_closing() and sent < 4_000_000:
            heard.write(more if sent else start + more)
            sent += len(more)
            asyncio.get_running_loop().call_later(0.0001, endless, heard)

    async with far_side(endless) as (_, port), calling(port) as exchange:
        with pytest.raises(NoAnswer) as failure:
            await post(exchange)
        assert isinstance(failure.value.__cause__, ValueError)


@on_both_loops
async def test_more_than_any_answer() -> None:
    """A body that is longer than it may be is not read to its end."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with far_side(head + b"x" * 101) as (far, port), calling(port) as exchange:
        with pytest.raises(NotAnEnvelope, match="100 bytes"):
            await post(exchange, longest=100)
        await far.connections[0].ended


@on_both_loops
async def test_the_same_instant() -> None:
    """A connection that ends while the request is on its way: unknown, and the request is not sent again."""
    async with far_side(lambda heard: heard.transport.abort()) as (far, port), calling(port) as exchange:
        far.answer = lambda heard: heard.write(OK)
        await post(exchange)
        far.answer = lambda heard: heard.transport.abort()
        with pytest.raises(NoAnswer):
            await post(exchange)
        assert far.requests == [2]


# --- kept connections ---


@pytest.mark.parametrize("stray", [OK.replace(b"OK", b"NO"), b"x", b"HTTP/1.1 "])
@pytest.mark.parametrize("later", [False, True])
@on_both_loops
async def test_bytes_that_nobody_asked_for(stray: bytes, later: bool) -> None:
    """Behind the answer or some time later: they are the end of the connection, and never the next one's answer."""

    def answer(heard: Heard) -> None:
        first = heard is far.connections[0]
        heard.write(OK + stray if first and not later else OK)

    async with far_side(answer) as (far, port), calling(port) as exchange:
        assert (await post(exchange)).body == b"OK"
        if later:
            far.connections[0].write(stray)
            await until(far.connections[0].ended.done)
        assert (await post(exchange)).body == b"OK"
        assert far.requests == [1, 1]


@pytest.mark.parametrize("seen", [False, True])
@on_both_loops
async def test_a_connection_that_the_server_closed_meanwhile(monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    """It costs no message anything, not even when the loop had no time yet to see it."""
    monkeypatch.setattr(exchange_room, "RESTED", 0.0)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    async with calling(listener.getsockname()[1]) as exchange:
        for _ in range(2):
            asked = post(exchange)
            peer, _ = await loop.sock_accept(listener)
            await loop.sock_recv(peer, 4096)
            await loop.sock_sendall(peer, OK)
            assert (await asked).body == b"OK"
            peer.close()
            if seen:
                await until(lambda: not exchange._open)
            else:
                time.sleep(0.02)  # the loop stands still
    listener.close()


@on_both_loops
async def test_a_connection_that_has_just_been_said_to_end() -> None:
    """From the instant of its end on nobody gets it, though it has not been lost yet."""
    async with far_side() as (far, port), calling(port) as exchange:
        await post(exchange)
        next(iter(exchange._open)).eof_received()  # as the transport says it
        await post(exchange)
        assert far.requests == [1, 1]


@on_both_loops
async def test_an_idle_connection_is_closed() -> None:
    """After its time, with or without another caller; one that is used stays."""
    async with far_side() as (far, port), calling(port, keep=0.6) as exchange:
        await asyncio.gather(post(exchange), post(exchange))
        for _ in range(3):
            await asyncio.sleep(0.25)
            await post(exchange)
        assert sorted(far.requests) == [1, 4]
        await until(lambda: not exchange._open)
        await until(lambda: all(one.ended.done() for one in far.connections))
        await post(exchange)
        assert len(far.connections) == 3
        time.sleep(0.7)  # no timer has run
        await post(exchange)
        assert len(far.connections) == 4
        pauses = iter((0.0, 0.05))
        far.answer = lambda heard: asyncio.get_running_loop().call_later(next(pauses), heard.write, OK)
        await asyncio.gather(post(exchange), post(exchange))
        await until(lambda: not exchange._open)  # one after the other, though nobody calls any more


@on_both_loops
async def test_no_more_connections_than_allowed() -> None:
    """Who comes first is served first, and no connection is made beyond the limit; the one used last is used next."""
    served: list[tuple[Heard, bytes]] = []
    async with far_side() as (far, port), calling(port, limit=2) as exchange:
        await asyncio.gather(post(exchange), post(exchange))
        far.answer = lambda heard: served.append((heard, heard.requests[-1][-1:]))
        asked = [post(exchange, body) for body in (b"a", b"b", b"c", b"d", b"e")]
        await until(lambda: len(served) == 2)
        for count in (3, 4, 5):
            served[count - 3][0].write(OK)
            await until(lambda least=count: len(served) >= least)
            assert len(served) == count
            assert served[-1][1] == b"abcde"[count - 1 : count]
        for heard, _ in served[3:]:
            heard.write(OK)
        assert {one.body for one in await asyncio.gather(*asked)} == {b"OK"}
        assert len(far.connections) == 2

        far.answer = lambda heard: heard.write(OK)
        last = exchange._idle[-1]
        for _ in range(3):
            await post(exchange)
            assert exchange._idle[-1] is last
        assert max(far.requests) >= 5


# --- time and those who go ---


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"])
@on_both_loops
async def test_an_answer_that_drips(drip: bytes) -> None:
    """The time is for the whole attempt, however busy the other side looks."""

    def answer(heard: Heard) -> None:
        if not heard.transport.is_closing():
            heard.write(drip or b"x")
            asyncio.get_running_loop().call_later(0.01, answer, heard)

    async with far_side(answer if drip else silent) as (far, port), calling(port) as exchange:
        begun = time.monotonic()
        with pytest.raises(NoAnswer) as failure:
            await post(exchange, seconds=1.0)
        assert isinstance(failure.value.__cause__, TimeoutError)
        assert 0.9 < time.monotonic() - begun < 20
        await asyncio.wait_for(far.connections[0].ended, 5)


@on_both_loops
async def test_no_place_in_time() -> None:
    """Who waits in vain for a place has sent nothing, and its place goes to the next."""
    async with far_side(silent) as (far, port), calling(port, limit=1) as exchange:
        long = post(exchange, seconds=1.0)
        await far.came.acquire()
        with pytest.raises(Unreachable) as failure:
            await post(exchange, connect=0.05)
        assert isinstance(failure.value.__cause__, TimeoutError)
        far.answer = lambda heard: heard.write(OK)
        waiting = post(exchange)
        with pytest.raises(NoAnswer):
            await long
        assert (await waiting).status == 200
        assert far.requests == [1, 1]


@on_both_loops
async def test_a_handshake_without_end(pki: Pki) -> None:
    """A server that takes the connection and says nothing was never reached; every byte counts from the beginning."""
    own = pki.issue("Den der kalder", "29189846")
    tls = client_tls(own.certificate, own.key, pki.ca)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        async with calling(port, url=f"https://127.0.0.1:{port}/x", tls=tls) as exchange:
            for limits in ({"connect": 0.05}, {"seconds": 0.05}):
                begun = time.monotonic()
                with pytest.raises(Unreachable) as failure:
                    await post(exchange, **limits)
                assert isinstance(failure.value.__cause__, TimeoutError)
                assert time.monotonic() - begun < 20
            assert exchange._taken == 0


@on_both_loops
async def test_an_address_of_several_that_swallows(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address takes its share of the time, and the next one is tried."""
    own = pki.issue("Den der kalder", "29189846")
    server = server_tls(own.certificate, own.key, pki.ca)
    async with far_side(tls=server) as (far, port):
        with socket.create_server(("127.0.0.2", port)):
            loop = asyncio.get_running_loop()

            async def both(*_: Any, **__: Any) -> Any:
                return [
                    (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")
                ]

            tls = client_tls(own.certificate, own.key, pki.ca)
            async with calling(port, url=f"https://localhost:{port}/x", tls=tls) as exchange:
                room = exchange._connect
                monkeypatch.setattr(exchange, "_connect", lambda _, end: room(Resolving(loop, both), end))
                assert (await post(exchange, connect=2.0)).body == b"OK"
                assert far.requests == [1]


class Resolving:
    """A loop with a name service of its own."""

    def __init__(self, loop: Any, getaddrinfo: Any) -> None:
        self.create_connection, self.time, self.getaddrinfo = loop.create_connection, loop.time, getaddrinfo


@on_both_loops
async def test_a_certificate_of_somebody_else(pki: Pki) -> None:
    """A server whose certificate names another host is not spoken to; in the end TLS is ended in good manners."""
    own = pki.issue("Den der kalder", "29189846")
    other: Issued = pki.issue("Et andet sted", "19435075", san=("andetsteds.dk",))
    tls = client_tls(own.certificate, own.key, pki.ca)
    async with far_side(tls=server_tls(other.certificate, other.key, pki.ca)) as (far, port):
        async with calling(port, url=f"https://localhost:{port}/x", tls=tls) as exchange:
            with pytest.raises(Unreachable) as failure:
                await post(exchange)
            assert isinstance(failure.value.__cause__, ssl.SSLCertVerificationError)
        assert not any(far.requests)
    async with (
        far_side(tls=server_tls(own.certificate, own.key, pki.ca)) as (far, port),
        calling(port, url=f"https://localhost:{port}/x", tls=tls, keep=0.05) as exchange,
    ):
        await post(exchange)
        await asyncio.wait_for(far.connections[0].ended, 5)
        await until(lambda: not exchange._open)


@on_both_loops
async def test_a_caller_who_goes() -> None:
    """While it waits, while it connects, while it reads, or with the place just given to it: nothing is kept from others."""
    async with far_side(silent) as (far, port), calling(port, limit=1) as exchange:
        reading = post(exchange)
        await far.came.acquire()
        waiting, next_one = post(exchange), post(exchange)
        await asyncio.sleep(0.01)
        waiting.cancel()
        await until(waiting.done)
        assert len(exchange._waiting) == 1
        far.answer = lambda heard: heard.write(OK)
        reading.cancel()
        assert (await asyncio.wait_for(next_one, 5)).status == 200
        assert far.requests == [1, 1]

        for given_first in (True, False):
            await exchange._place(asyncio.get_running_loop())  # as somebody does who then goes
            given, last = post(exchange), post(exchange)
            await until(lambda: len(exchange._waiting) == 2)
            for step in (exchange._leave, given.cancel) if given_first else (given.cancel, exchange._leave):
                step()  # in one instant: who waits has not gone on yet
            assert (await asyncio.wait_for(last, 5)).status == 200
            results = await asyncio.gather(waiting, given, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in results)
            assert (exchange._taken, len(exchange._waiting)) == (0, 0)


@on_both_loops
async def test_a_caller_who_goes_while_it_connects(pki: Pki) -> None:
    """Its place is free again, and the half-made connection is closed."""
    own = pki.issue("Den der kalder", "29189846")
    tls = client_tls(own.certificate, own.key, pki.ca)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.setblocking(False)
        loop, port = asyncio.get_running_loop(), mute.getsockname()[1]
        async with calling(port, url=f"https://127.0.0.1:{port}/x", tls=tls, limit=1) as exchange:
            connecting = post(exchange)
            peer, _ = await loop.sock_accept(mute)
            with peer:
                connecting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await connecting
                async with asyncio.timeout(5):
                    while await loop.sock_recv(peer, 4096):
                        pass
            assert (exchange._taken, len(exchange._coming)) == (0, 0)


@on_both_loops
async def test_closed_for_good(pki: Pki) -> None:
    """Who waits or connects learns that nothing was sent, who reads that nobody knows; every connection has ended."""
    own = pki.issue("Den der kalder", "29189846")
    tls = client_tls(own.certificate, own.key, pki.ca)
    async with far_side(silent) as (far, port), calling(port, limit=2) as exchange:
        far.answer = lambda heard: heard.write(OK)
        await asyncio.gather(post(exchange), post(exchange))
        far.answer = silent
        reading, waiting = [post(exchange) for _ in range(2)], post(exchange)
        for _ in range(4):
            await far.came.acquire()
        await exchange.close()
        assert not exchange._open
        assert not exchange._coming
        for task in reading:
            with pytest.raises(NoAnswer):
                await task
        for task in (waiting, post(exchange)):
            with pytest.raises(Unreachable):
                await task
        for one in far.connections:
            await asyncio.wait_for(one.ended, 5)
        await asyncio.sleep(0.02)
        assert len(far.connections) == 2  # nobody has come since
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        async with calling(port, url=f"https://127.0.0.1:{port}/x", tls=tls) as exchange:
            connecting = post(exchange)
            await until(lambda: exchange._coming)
            await asyncio.sleep(0.02)
            await asyncio.wait_for(asyncio.gather(exchange.close(), exchange.close()), 3)
            with pytest.raises(Unreachable):
                await connecting


@on_both_loops
async def test_a_connection_that_came_too_late() -> None:
    """One that is made in the instant of the closing ends, and nothing is sent on it."""
    loop = asyncio.get_running_loop()
    async with far_side() as (far, port), calling(port) as exchange:
        await exchange.close()
        late = exchange_room._Connection(exchange)
        await loop.create_connection(lambda: late, "127.0.0.1", port)
        with pytest.raises(Unreachable):
            await asyncio.wait_for(late.ask(loop.create_future(), b"POST", b"", 1), 5)
        await until(lambda: far.connections and far.connections[0].ended.done())
        assert far.connections[0].reads == []
