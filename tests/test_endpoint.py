# SPDX-License-Identifier: MPL-2.0
"""The HTTP door, the endpoint and the server, over real sockets and real TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from lxml import etree

from sygefravaer import soap
from sygefravaer.clock import MovableClock
from sygefravaer.contract.messages import (
    HentSagsListeRequest,
    HentSagsListeResponse,
    Reply,
    SagsListeType,
    SygefravaerResponse,
    TransportKvitteringType,
    kvittering_ok,
)
from sygefravaer.contract.names import NS_FAULT, NS_KVITTERING, NS_SOAP11, NS_WSDL, PATHS, SERVICE_UUIDS
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.endpoint import (
    BULK,
    Answer,
    App,
    Call,
    Endpoint,
    HangUp,
    HttpDoor,
    Inbound,
    Once,
    Peers,
    Server,
    TlsProtocol,
    server_tls,
)
from sygefravaer.errors import HttpRefusal, MalformedRequest, Refused, StoreUnavailable, Unreadable, UsageError
from sygefravaer.identity import from_der
from sygefravaer.sandbox.pki import Issued, Pki
from sygefravaer.soap import Limits

CVR = "29189846"
SAMPLES = Path(__file__).parent / "samples"
PATH = PATHS["Sygefravaer"]
SEND = (SAMPLES / "SendForretningsSvarRequest.min.xml").read_bytes()
LOOKUP = (SAMPLES / "HentSagsListeRequest.min.xml").read_bytes()
EVENT = (SAMPLES / "SendHaendelseSygefravaerssagRequest.min.xml").read_bytes()


# --- the wire ---


@dataclass
class Wire:
    """A raw connection, so that a test decides about every byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def post(self, body: bytes, path: str = PATH, *headers: str, method: str = "POST") -> Got:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
        if not any(one.lower().startswith(("content-length", "transfer-encoding")) for one in headers):
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return await self.answer(head_only=method == "HEAD")

    async def answer(self, *, head_only: bool = False) -> Got:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        length = 0 if head_only else int(headers.get("content-length", "0"))
        body = await asyncio.wait_for(self.reader.readexactly(length), 10)
        return Got(status=int(status.split()[1]), headers=headers, body=body)

    async def closed(self, within: float = 5) -> bool:
        """Say whether the server has closed the connection."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            return await asyncio.wait_for(self.reader.read(1), within) == b""
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), 2)


@dataclass
class Got:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def fault(self) -> etree._Element:
        found = etree.fromstring(self.body).find(f"{{{NS_SOAP11}}}Body/{{{NS_SOAP11}}}Fault")
        assert found is not None
        return found

    @property
    def code(self) -> str | None:
        return self.fault.findtext(f".//{{{NS_FAULT}}}ErrorCode")


@asynccontextmanager
async def connected(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    if server.uds is not None:
        reader, writer = await asyncio.open_unix_connection(server.uds)
    else:
        name = "localhost" if tls else None
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls, server_hostname=name)
    wire = Wire(reader, writer)
    try:
        yield wire
    finally:
        await wire.close()


@asynccontextmanager
async def running(app: App, **options: Any) -> AsyncIterator[Server]:
    server = Server(app, **{"grace": 1.0, **options})
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def caller(pki: Pki, issued: Issued | None, *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.ca)
    if issued is not None:
        context.load_cert_chain(issued.certificate, issued.key)
    if version is not None:
        context.maximum_version = version
    return context


@pytest.fixture(scope="session")
def platform(pki: Pki) -> Issued:
    return pki.issue("Platformen", "19435075", key="rsa")


@pytest.fixture(scope="session")
def jobcenter(pki: Pki) -> Issued:
    return pki.issue("Jobcenter", CVR)


@pytest.fixture
def tls(pki: Pki, platform: Issued) -> ssl.SSLContext:
    return server_tls(platform.certificate, platform.key, pki.ca)


@dataclass
class Seen:
    """A handler that keeps what reached it."""

    inbound: list[Inbound] = field(default_factory=list)
    answer: Answer = field(default_factory=lambda: Answer(status=200, body=b"<ok/>"))
    act: Callable[[Inbound], Awaitable[None]] | None = None

    async def __call__(self, inbound: Inbound) -> Answer:
        self.inbound.append(inbound)
        if self.act is not None:
            await self.act(inbound)
        return self.answer


@pytest.fixture
def seen() -> Seen:
    return Seen()


OPEN = Peers(required=False)


def door(seen: Seen, clock: MovableClock, **options: Any) -> HttpDoor:
    return HttpDoor({PATH: seen}, clock=clock, **{"peers": OPEN, **options})


# --- who calls ---


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_certificate_of_the_caller_is_known(
    *, pki: Pki, tls: ssl.SSLContext, jobcenter: Issued, seen: Seen, clock: MovableClock, version: ssl.TLSVersion
) -> None:
    """With TLS 1.2 and 1.3 the handler learns who calls, on every request of a connection."""
    app = door(seen, clock, peers=Peers())
    async with running(app, tls=tls) as server, connected(server, caller(pki, jobcenter, version=version)) as wire:
        first, second = await wire.post(b"<a/>"), await wire.post(b"<b/>")

    assert (first.status, second.status) == (200, 200)
    assert [one.identity for one in seen.inbound] == [from_der(jobcenter.der)] * 2
    assert [one.body for one in seen.inbound] == [b"<a/>", b"<b/>"]
    assert [one.received_at for one in seen.inbound] == [clock.now()] * 2
    assert first.headers["calluuid"] == str(seen.inbound[0].call_uuid) != second.headers["calluuid"]
    assert first.headers["content-type"] == "text/xml;charset=UTF-8"
    assert not {"server", "date"} & first.headers.keys()


async def refused_at_the_handshake(server: Server, context: ssl.SSLContext) -> bool:
    """With TLS 1.3 a client learns it on its first read."""
    try:
        async with connected(server, context) as wire:
            await wire.post(b"<a/>")
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return True
    return False


async def test_certificates_that_do_not_get_in(
    pki: Pki, platform: Issued, jobcenter: Issued, seen: Seen, clock: MovableClock
) -> None:
    """None, expired, revoked, of a foreign authority with the same names: the handshake fails; the next caller is served."""
    revoked = pki.issue("Tilbagekaldt", CVR)
    pki.revoke(revoked)
    bad = {
        "none": None,
        "expired": pki.issue("Udløbet", CVR, not_after=datetime.now(UTC) - timedelta(days=2)),
        "revoked": revoked,
        "foreign": pki.issue("Fremmed", CVR, ca=pki.foreign),
    }
    tls = server_tls(platform.certificate, platform.key, pki.ca, [pki.crl])
    async with running(door(seen, clock, peers=Peers()), tls=tls) as server:
        for name, issued in bad.items():
            assert await refused_at_the_handshake(server, caller(pki, issued)), name
        async with connected(server, caller(pki, jobcenter)) as wire:
            assert (await wire.post(b"<a/>")).status == 200
    assert len(seen.inbound) == 1


async def test_a_certificate_revoked_on_an_open_connection(
    pki: Pki, platform: Issued, seen: Seen, clock: MovableClock
) -> None:
    """After a reload the open connection gets 403 without SOAP and is closed, and a new one fails its handshake."""
    issued = pki.issue("Bliver tilbagekaldt", CVR)
    tls = server_tls(platform.certificate, platform.key, pki.ca, [pki.crl])
    peers = Peers(tls=tls)
    peers.reload([pki.crl])
    async with (
        running(door(seen, clock, peers=peers), tls=tls) as server,
        connected(server, caller(pki, issued)) as wire,
    ):
        assert (await wire.post(b"<a/>")).status == 200
        pki.revoke(issued)
        peers.reload([pki.crl])
        got = await wire.post(b"<a/>")
        assert (got.status, got.headers["connection"]) == (403, "close")
        assert b"Envelope" not in got.body
        assert await wire.closed()
        assert await refused_at_the_handshake(server, caller(pki, issued))
    assert len(seen.inbound) == 1


async def test_a_revocation_list_that_is_out_of_date_lets_nobody_in(
    *, pki: Pki, platform: Issued, jobcenter: Issued, seen: Seen, clock: MovableClock, tmp_path: Path
) -> None:
    """Without a current list nobody can be sure: the handshake fails, for everybody."""
    now = datetime.now(UTC)
    old = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_der_x509_certificate(jobcenter.der).issuer)
        .last_update(now - timedelta(days=9))
        .next_update(now - timedelta(days=1))
        .sign(pki._key, hashes.SHA256())
    )
    (tmp_path / "old.crl").write_bytes(old.public_bytes(serialization.Encoding.PEM))
    tls = server_tls(platform.certificate, platform.key, pki.ca, [tmp_path / "old.crl"])
    async with running(door(seen, clock, peers=Peers()), tls=tls) as server:
        assert await refused_at_the_handshake(server, caller(pki, jobcenter))
    assert seen.inbound == []


async def test_an_unreadable_revocation_list_changes_nothing(pki: Pki, tmp_path: Path) -> None:
    """A reload that fails leaves what was revoked revoked."""
    broken = tmp_path / "broken.crl"
    broken.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    peers = Peers(revoked=[("CN=x", 1)])
    for path in (broken, tmp_path / "missing.crl"):
        with pytest.raises(UsageError) as refused:
            peers.reload([path])
        assert refused.value.code == "CrlUnreadable"
    assert peers.revoked == {("CN=x", 1)}


async def test_optional_certificates_are_refused_by_http(
    pki: Pki, platform: Issued, seen: Seen, clock: MovableClock
) -> None:
    """Where the handshake lets a caller without certificate in, it is 403 without SOAP."""
    tls = server_tls(platform.certificate, platform.key, pki.ca, required=False)
    async with (
        running(door(seen, clock, peers=Peers()), tls=tls) as server,
        connected(server, caller(pki, None)) as wire,
    ):
        got = await wire.post(b"<a/>")
    assert (got.status, got.headers["connection"], seen.inbound) == (403, "close", [])


async def test_a_certificate_that_expires_on_an_open_connection(jobcenter: Issued) -> None:
    """Validity is looked at on every request."""
    peers = Peers(trust_unix=True)
    scope: dict[str, Any] = {"client": None, "headers": [(b"client-cert", header(jobcenter).encode())]}
    assert peers.identify(scope) == from_der(jobcenter.der)

    expired = replace(from_der(jobcenter.der), not_after=datetime.now(UTC) - timedelta(seconds=1))
    peers._presented = lambda _: expired  # type: ignore[method-assign]
    with pytest.raises(HttpRefusal, match="not valid today"):
        peers.identify(scope)


def header(issued: Issued) -> str:
    return f":{base64.b64encode(issued.der).decode()}:"


async def test_a_trusted_proxy_says_who_calls(pki: Pki, jobcenter: Issued, seen: Seen, clock: MovableClock) -> None:
    """`Client-Cert` is believed from a trusted network only, and is never passed on."""
    for trusted, status in (("127.0.0.0/8", 200), ("10.0.0.0/8", 403), ("::1/128", 403)):
        app = door(seen, clock, peers=Peers(trusted=[trusted]))
        async with running(app) as server, connected(server) as wire:
            assert (await wire.post(b"<a/>", PATH, f"Client-Cert: {header(jobcenter)}")).status == status

    (inbound,) = seen.inbound
    assert inbound.identity == from_der(jobcenter.der)
    assert "client-cert" not in inbound.headers


@pytest.mark.parametrize("headers", [[], ["Client-Cert: nonsense"], ["Client-Cert: {0}", "Client-Cert: {0}"]])
async def test_a_proxy_that_says_nothing_usable(
    jobcenter: Issued, seen: Seen, clock: MovableClock, headers: list[str]
) -> None:
    """No header, an unreadable one, two: 403, nobody is guessed."""
    app = door(seen, clock, peers=Peers(trusted=["127.0.0.1"]))
    async with running(app) as server, connected(server) as wire:
        got = await wire.post(b"<a/>", PATH, *(one.format(header(jobcenter)) for one in headers))
    assert (got.status, seen.inbound) == (403, [])


async def test_a_header_from_anybody_else_is_ignored(
    *, pki: Pki, tls: ssl.SSLContext, jobcenter: Issued, platform: Issued, seen: Seen, clock: MovableClock
) -> None:
    """A caller over TLS is who his certificate says, whatever he writes."""
    async with (
        running(door(seen, clock, peers=Peers()), tls=tls) as server,
        connected(server, caller(pki, jobcenter)) as wire,
    ):
        assert (await wire.post(b"<a/>", PATH, f"Client-Cert: {header(platform)}")).status == 200
    assert seen.inbound[0].identity == from_der(jobcenter.der)
    assert "client-cert" not in seen.inbound[0].headers


async def test_a_unix_socket_may_be_trusted(jobcenter: Issued, seen: Seen, clock: MovableClock, tmp_path: Path) -> None:
    """Whoever reaches the Unix socket is the proxy, if so configured; the socket is private and goes away."""
    path = tmp_path / "p.sock"
    for trust, status in ((True, 200), (False, 403)):
        app = door(seen, clock, peers=Peers(trust_unix=trust))
        async with running(app, uds=path) as server:
            assert path.stat().st_mode & 0o777 == 0o600
            async with connected(server) as wire:
                assert (await wire.post(b"<a/>", PATH, f"Client-Cert: {header(jobcenter)}")).status == status
        assert not path.exists()
    assert seen.inbound[0].base_url == f"http://localhost{PATH}"


# --- what HTTP refuses ---


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (("POST", "/nothing"), [], 404),
        (("POST", "/"), [], 404),
        (("GET", "/nothing"), [], 404),
        (("GET", "/administration/wsdl/../../../etc/passwd"), [], 404),
        (("GET", PATH), [], 405),
        (("PUT", PATH), [], 405),
        (("DELETE", PATH + "/"), [], 405),
        (("GET", f"{PATH}?xsd=../secret.xsd"), [], 405),
        (("GET", f"{PATH}?nonsense"), [], 405),
        (("POST", PATH), ["Content-Type: application/json"], 415),
        (("POST", PATH), ['Content-Type: multipart/related; type="application/xop+xml"'], 415),
        (("POST", PATH), ["Content-Encoding: br"], 415),
        (("POST", PATH), ["Content-Encoding: gzip, gzip"], 415),
        (("POST", PATH), ["Content-Length: 99999999"], 413),
    ],
)
async def test_refusals_of_http(
    seen: Seen, clock: MovableClock, request_line: tuple[str, str], headers: list[str], status: int
) -> None:
    """Each has its status, is no SOAP, tells the CallUUID, and reaches no handler."""
    method, path = request_line
    async with running(door(seen, clock)) as server, connected(server) as wire:
        got = await wire.post(b"<a/>" if method == "POST" else b"", path, *headers, method=method)

    assert got.status == status
    assert UUID(got.headers["calluuid"])
    assert got.headers["content-type"].startswith("text/plain")
    assert got.headers.get("allow") == ("POST" if status == 405 else None)
    assert seen.inbound == []


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Type: text/xml; charset=utf-8"],
        ["content-type: TEXT/XML"],
        ["Content-Type: application/xml"],
        ['Content-Type: application/soap+xml; action="x"'],
        [],
        ["Content-Encoding: identity", "X-Unknown: 1", "ActivityId: 2"],
    ],
)
async def test_what_client_stacks_send_is_let_in(seen: Seen, clock: MovableClock, headers: list[str]) -> None:
    """The media types in use, none at all, a trailing slash, and headers nobody knows."""
    async with running(door(seen, clock)) as server, connected(server) as wire:
        assert (await wire.post(b"<a/>", PATH + "/", *headers)).status == 200
    assert (seen.inbound[0].path, seen.inbound[0].base_url) == (PATH, f"http://localhost{PATH}")


async def test_an_answer_without_a_body_has_no_type(seen: Seen, clock: MovableClock) -> None:
    """Nothing is said of what is not there."""
    seen.answer = Answer(status=204)
    async with running(door(seen, clock)) as server, connected(server) as wire:
        got = await wire.post(b"<a/>")
    assert (got.status, "content-type" in got.headers) == (204, False)


async def test_header_that_stands_twice_is_joined(seen: Seen, clock: MovableClock) -> None:
    """As HTTP has it."""
    async with running(door(seen, clock)) as server, connected(server) as wire:
        await wire.post(b"<a/>", PATH, "X-A: 1", "X-A: 2")
    assert seen.inbound[0].headers["x-a"] == "1, 2"


async def test_a_host_that_is_none_is_not_repeated(seen: Seen, clock: MovableClock) -> None:
    """The address told back is the server's own when the Host header is no host."""
    async with running(door(seen, clock)) as server, connected(server) as wire:
        await wire.send(f'POST {PATH} HTTP/1.1\r\nHost: evil/"x\r\nContent-Length: 4\r\n\r\n<a/>'.encode())
        await wire.answer()
        assert seen.inbound[0].base_url == f"http://127.0.0.1:{server.port}{PATH}"


async def test_chunked_bodies(seen: Seen, clock: MovableClock) -> None:
    """A chunked body is put together, within the limit; past it the answer is 413 before its end."""
    async with running(door(seen, clock, limits=Limits(body=100))) as server:
        async with connected(server) as wire:
            got = await wire.post(b"2\r\n<a\r\n2\r\n/>\r\n0\r\n\r\n", PATH, "Transfer-Encoding: chunked")
        assert (got.status, seen.inbound[0].body) == (200, b"<a/>")
        async with connected(server) as wire:
            got = await wire.post(b"c8\r\n" + b"x" * 200 + b"\r\n", PATH, "Transfer-Encoding: chunked")
            assert (got.status, got.headers["connection"]) == (413, "close")
            assert await wire.closed()
    assert len(seen.inbound) == 1


async def test_a_client_that_writes_all_before_it_reads_gets_its_413(
    pki: Pki, tls: ssl.SSLContext, jobcenter: Issued, seen: Seen, clock: MovableClock
) -> None:
    """The rest of 6 MB is thrown away for a moment, so that no reset overtakes the answer."""
    async with (
        running(door(seen, clock, peers=Peers()), tls=tls) as server,
        connected(server, caller(pki, jobcenter)) as wire,
    ):
        assert (await wire.post(b"x" * 6_000_000)).status == 413
    assert seen.inbound == []


async def test_expect_continue_is_answered_when_the_body_is_read(seen: Seen, clock: MovableClock) -> None:
    """100 only for a body that will be read; a refusal comes instead of it, and the connection closes."""
    expect = "Expect: 100-continue"
    async with running(door(seen, clock)) as server:
        async with connected(server) as wire:
            await wire.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{expect}\r\nContent-Length: 4\r\n\r\n".encode())
            assert (await wire.answer()).status == 100
            await wire.send(b"<a/>")
            assert (await wire.answer()).status == 200
        async with connected(server) as wire:
            began = time.monotonic()
            assert (await wire.post(b"", PATH, expect, "Content-Length: 9999999")).status == 413
            assert await wire.closed()
            assert time.monotonic() - began < 0.9


async def test_gzip_in_and_out(seen: Seen, clock: MovableClock) -> None:
    """A gzip body is inflated; an answer is compressed only when asked for and worth it."""
    big = b"<a>" + b"x" * 5000 + b"</a>"
    seen.answer = Answer(status=200, body=big)
    async with running(door(seen, clock)) as server, connected(server) as wire:
        got = await wire.post(
            gzip.compress(big), PATH, "Content-Encoding: gzip", "Accept-Encoding: deflate, gzip;q=0.5"
        )
        assert seen.inbound[0].body == big
        assert got.headers["content-encoding"] == "gzip"
        assert gzip.decompress(got.body) == big
        for accepted in ("identity", "gzip;q=0", "gzip; q=0.0"):
            got = await wire.post(b"<a/>", PATH, f"Accept-Encoding: {accepted}")
            assert (got.headers.get("content-encoding"), got.body) == (None, big)
        seen.answer = Answer(status=200, body=b"<small/>")
        assert (await wire.post(b"<a/>", PATH, "Accept-Encoding: gzip")).body == b"<small/>"


async def test_gzip_that_is_a_bomb_or_broken(seen: Seen, clock: MovableClock) -> None:
    """Too much is 413; what is not gzip is MalformedRequest with 400."""
    async with running(door(seen, clock, limits=Limits(inflate=1000))) as server, connected(server) as wire:
        assert (await wire.post(gzip.compress(b"x" * 100_000), PATH, "Content-Encoding: gzip")).status == 413
        got = await wire.post(b"plain", PATH, "Content-Encoding: x-gzip")
    assert (got.status, got.code, seen.inbound) == (400, "MalformedRequest", [])


async def test_a_service_window(seen: Seen, clock: MovableClock) -> None:
    """While the window is open every call is 503 with the seconds that are left; documents are served on."""
    app = door(seen, clock)
    app.window = clock.now() + timedelta(seconds=90.5)
    async with running(app) as server:
        async with connected(server) as wire:
            got = await wire.post(b"<a/>")
            assert (got.status, got.headers["retry-after"]) == (503, "91")
        app.window = clock.now() - timedelta(seconds=5)
        async with connected(server) as wire:
            assert (await wire.post(b"<a/>")).headers["retry-after"] == "1"
        async with connected(server) as wire:
            assert (await wire.post(b"", f"{PATH}?wsdl", method="GET")).status == 200
            app.window = None
            assert (await wire.post(b"<a/>")).status == 200


async def test_documents(seen: Seen, clock: MovableClock) -> None:
    """`?wsdl` and the package are served with the address they were asked at; HEAD has no body."""
    async with running(door(seen, clock)) as server, connected(server) as wire:
        got = await wire.post(b"", f"{PATH}/?wsdl", "Host: sp.example:8443".replace("Host", "X-Other"), method="GET")
        assert etree.fromstring(got.body).tag == f"{{{NS_WSDL}}}definitions"
        assert f'location="http://localhost{PATH}"'.encode() in got.body
        head = await wire.post(b"", f"{PATH}?wsdl", method="HEAD")
        assert (head.status, head.headers["content-length"], head.body) == (200, got.headers["content-length"], b"")
        name = "/administration/wsdl/Sygefravaer/sp/service.properties"
        assert SERVICE_UUIDS["Sygefravaer"].encode() in (await wire.post(b"", name, method="GET")).body
    async with running(door(seen, clock, documents=False)) as server, connected(server) as wire:
        assert (await wire.post(b"", f"{PATH}?wsdl", method="GET")).status == 405
        assert (await wire.post(b"", name, method="GET")).status == 404


# --- slow and vanishing clients ---


class Hasty(TlsProtocol):
    head_seconds = 0.3
    close_seconds = 0.2
    head_bytes = 2000


async def test_a_body_that_dribbles(seen: Seen, clock: MovableClock) -> None:
    """A body that is not there in time is 408, and the connection is closed."""
    async with running(door(seen, clock, limits=Limits(read_seconds=0.3))) as server, connected(server) as wire:
        got = await wire.post(b"<a", PATH, "Content-Length: 4")
        assert (got.status, got.headers["connection"]) == (408, "close")
        assert await wire.closed()
    assert seen.inbound == []


async def test_a_head_that_dribbles(seen: Seen, clock: MovableClock) -> None:
    """A head that is not whole in time is 408; a connection that says nothing, or only line feeds, is closed."""
    async with running(door(seen, clock), protocol=Hasty) as server:
        async with connected(server) as wire:
            await wire.send(b"POST / HTTP/1.1\r\nX-")
            assert (await wire.answer()).status == 408
            assert await wire.closed()
        async with connected(server) as silent:
            assert await silent.closed()
        async with connected(server) as wire:
            await wire.post(b"<a/>")
            await wire.send(b"\r\n\r\n")
            assert (await wire.answer()).status == 408
            assert await wire.closed()


async def test_a_head_without_end(seen: Seen, clock: MovableClock) -> None:
    """Too many bytes of headers are 431; as many of a body are not."""
    async with running(door(seen, clock), protocol=Hasty) as server, connected(server) as wire:
        for _ in range(3):
            assert (await wire.post(b"x" * 5000)).status == 200
        await wire.send(b"POST / HTTP/1.1\r\n")
        for _ in range(3):
            await asyncio.sleep(0.02)
            await wire.send(b"X-A: " + b"x" * 1000 + b"\r\n")
        assert (await wire.answer()).status == 431
        assert await wire.closed()


async def test_the_next_head_waits_for_the_answer_before_it(seen: Seen, clock: MovableClock) -> None:
    """Half a second request behind a slow answer does not cut the answer."""

    async def slowly(_: Inbound) -> None:
        await asyncio.sleep(0.8)

    seen.act = slowly
    async with running(door(seen, clock), protocol=Hasty) as server, connected(server) as wire:
        await wire.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n<a/>POST".encode())
        assert (await wire.answer()).status == 200
        assert (await wire.answer()).status == 408


async def test_an_idle_connection_is_closed(seen: Seen, clock: MovableClock) -> None:
    """A kept connection on which nothing comes is closed after its time."""
    async with running(door(seen, clock), protocol=Hasty, keep_alive=1) as server, connected(server) as wire:
        await wire.post(b"<a/>")
        assert await wire.closed()


@pytest.mark.parametrize(
    "line",
    [
        b"\x16\x03\x01\x00\xff",
        b"POST \xff\xfe HTTP/1.1\r\nHost: x",
        b"CONNECT host:443 HTTP/1.1\r\nHost: x",
        b"POST http://[::/x HTTP/1.1\r\nHost: x",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: -4",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        b"PRI * HTTP/2.0\r\n\r\nSM",
    ],
)
async def test_garbage_on_the_line(seen: Seen, clock: MovableClock, line: bytes) -> None:
    """What is not HTTP, or could be read in two ways, is 400 and closed; the next is served."""
    async with running(door(seen, clock)) as server:
        async with connected(server) as wire:
            await wire.send(line + b"\r\n\r\n")
            assert (await wire.answer()).status == 400
            assert await wire.closed()
        async with connected(server) as wire:
            assert (await wire.post(b"<a/>")).status == 200
    assert len(seen.inbound) == 1


async def test_another_protocol_is_not_begun(seen: Seen, clock: MovableClock) -> None:
    """After an Upgrade nothing more is read: what follows could be taken for a request that nobody sent."""
    async with running(door(seen, clock)) as server, connected(server) as wire:
        upgrade = ["Upgrade: websocket", "Connection: Upgrade"]
        smuggled = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        got = await wire.post(smuggled, PATH, *upgrade)
        assert got.headers["connection"] == "close"
        assert await wire.closed()
    assert len(seen.inbound) == 1


async def test_a_client_that_goes_away_reaches_no_handler(seen: Seen, clock: MovableClock) -> None:
    """Closed or half-closed in the middle of its body: nothing is handled, nothing is stored."""
    async with running(door(seen, clock, limits=Limits(read_seconds=0.5))) as server:
        async with connected(server) as wire:
            await wire.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n<a".encode())
        async with connected(server) as wire:
            await wire.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n<a".encode())
            wire.writer.write_eof()
            assert await wire.closed()
        await asyncio.sleep(0.1)
        assert server._state.connections == set()
        assert server._state.tasks == set()
    assert seen.inbound == []


async def test_a_handler_runs_on_when_the_caller_has_gone(seen: Seen, clock: MovableClock) -> None:
    """Whoever has begun a delivery finishes it."""
    finished = asyncio.Event()

    async def work(_: Inbound) -> None:
        await asyncio.sleep(0.2)
        finished.set()

    seen.act = work
    async with running(door(seen, clock)) as server:
        async with connected(server) as wire:
            await wire.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n<a/>".encode())
            while not seen.inbound:
                await asyncio.sleep(0.01)
        await asyncio.wait_for(finished.wait(), 2)


@pytest.mark.parametrize("stays", [True, False])
async def test_written_means_written(seen: Seen, clock: MovableClock, *, stays: bool) -> None:
    """What an answer says counts as told when it was written to a client that was still there."""
    told: list[bool] = []
    done = asyncio.Event()

    async def note() -> None:
        told.append(True)

    async def work(_: Inbound) -> None:
        await asyncio.sleep(0.3)
        done.set()

    seen.act = work
    seen.answer = Answer(status=200, body=b"<ok/>", written=note)
    async with running(door(seen, clock)) as server:
        async with connected(server) as wire:
            await wire.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n<a/>".encode())
            while not seen.inbound:
                await asyncio.sleep(0.01)
            if stays:
                assert (await wire.answer()).status == 200
        await asyncio.wait_for(done.wait(), 2)
    assert told == [True] * stays


async def test_two_hundred_slow_callers_harm_nobody(
    pki: Pki, tls: ssl.SSLContext, jobcenter: Issued, seen: Seen, clock: MovableClock
) -> None:
    """With 200 bodies hanging, another caller is answered at once; all of the slow ones end in 408."""
    app = door(seen, clock, peers=Peers(), limits=Limits(read_seconds=6))  # a busy machine takes long for 200 greetings
    context = caller(pki, jobcenter)
    async with running(app, tls=tls) as server, contextlib.AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connected(server, context)) for _ in range(200)]
        for wire in slow:
            await wire.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n<a".encode())
        quick = await stack.enter_async_context(connected(server, context))
        began = time.monotonic()
        for _ in range(20):
            assert (await quick.post(b"<a/>")).status == 200
        assert time.monotonic() - began < 2
        assert {got.status for got in await asyncio.gather(*(wire.answer() for wire in slow))} == {408}


async def test_a_caller_that_does_not_read_is_left(clock: MovableClock) -> None:
    """An answer that nobody takes holds no task for ever."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)
        await asyncio.sleep(30)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "client": None}
    app = HttpDoor({}, clock=clock, peers=OPEN, limits=Limits(read_seconds=0.1))
    await asyncio.wait_for(app(scope, receive, send), 2)
    assert sent[0]["status"] == 404
    assert len(sent) == 1


# --- what a handler raises ---


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MalformedRequest("x", status=400), 400, "MalformedRequest"),
        (RuntimeError("0101505012"), 500, "InternalError"),
        (StoreUnavailable(), 500, "InternalError"),
        (Unreadable(), 500, None),
    ],
)
async def test_errors_of_a_handler_become_faults(
    *,
    seen: Seen,
    clock: MovableClock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    code: str | None,
) -> None:
    """Whatever a handler raises is a fault with the CallUUID of header and log; the unforeseen says nothing of itself."""

    async def fail(_: Inbound) -> None:
        raise error

    seen.act = fail
    with caplog.at_level(logging.INFO, "endpoint"):
        async with running(door(seen, clock, contact="Driften")) as server, connected(server) as wire:
            got = await wire.post(b"<a/>")

    assert (got.status, got.code) == (status, code)
    assert got.headers["calluuid"] in str(got.fault.findtext("faultstring"))
    assert "contact Driften and" in str(got.fault.findtext("faultstring"))
    assert b"0101505012" not in got.body
    assert "call.failed" in caplog.messages


async def test_a_handler_may_refuse_by_http_or_hang_up(seen: Seen, clock: MovableClock) -> None:
    """A handler can answer with a status alone, or close without an answer."""
    for error in (HttpRefusal(503, "x", headers=(("Retry-After", "7"),)), HangUp()):

        async def fail(_: Inbound, error: Exception = error) -> None:
            raise error

        seen.act = fail
        async with running(door(seen, clock)) as server, connected(server) as wire:
            if isinstance(error, HttpRefusal):
                got = await wire.post(b"<a/>")
                assert (got.status, got.headers["retry-after"]) == (503, "7")
            else:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await wire.post(b"<a/>")


async def test_the_request_line_is_never_logged(
    seen: Seen, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What stands in an address may be about a person: uvicorn writes no access log, whoever listens to its logger."""
    access = logging.getLogger("uvicorn.access")
    async with running(door(seen, clock)) as server:
        access.addHandler(caplog.handler)
        try:
            with caplog.at_level(logging.INFO, "uvicorn.access"):
                async with connected(server) as wire:
                    assert (await wire.post(b"<a/>")).status == 200
                    assert (await wire.post(b"<a/>", "/0101505006")).status == 404
        finally:
            access.removeHandler(caplog.handler)
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


# --- an endpoint ---


def receiver(
    handler: Callable[[Call], Awaitable[Reply | bytes]],
    clock: MovableClock,
    service: Service = Service.SYGEFRAVAER,
    **options: Any,
) -> Endpoint:
    names = ("SendForretningsSvar", "HentSagsListe", "SendHaendelseSygefravaerssag")
    return Endpoint(service, dict.fromkeys(names, handler), clock=clock, **{"peers": OPEN, **options})


async def take(call: Call) -> Reply:
    if call.operation.lookup:
        return HentSagsListeResponse(SagsListe=SagsListeType(), AntalIAlt=0, FlereSider=False)
    return SygefravaerResponse(TransportKvittering=kvittering_ok())


async def asked(app: App, body: bytes, *headers: str, path: str = PATH) -> Got:
    async with running(app) as server, connected(server) as wire:
        return await wire.post(body, path, *headers)


async def test_a_handler_gets_the_call(clock: MovableClock) -> None:
    """Operation, tree, digest, and the typed message with its key; its reply goes out as the response element."""
    calls: list[Call] = []

    async def keep(call: Call) -> Reply:
        calls.append(call)
        return await take(call)

    got = await asked(receiver(keep, clock), SEND)
    (call,) = calls

    assert got.status == 200
    assert b"SendForretningsSvarResponse" in got.body
    assert call.operation.name == "SendForretningsSvar"
    assert call.digest == soap.digest(soap.read(SEND).element)
    assert (call.sender, call.besked_id) == (
        UUID("7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24"),
        UUID("40e7b1c4-5a3d-4f81-9c26-7d0e4b6a901c"),
    )
    assert call.received_at == clock.now()
    assert got.headers["calluuid"] == str(call.call_uuid)
    assert b"HentSagsListeResponse" in (await asked(receiver(take, clock), LOOKUP)).body


async def test_ready_bytes_go_out_as_they_are(clock: MovableClock) -> None:
    """A kept receipt is repeated byte for byte."""

    class Kept:
        """A storage of a vendor's own."""

        async def once(self, call: Call, apply: Callable[[None], Awaitable[TransportKvitteringType]]) -> bytes:
            return b"<kept/>"

    storage: Once[None] = Kept()

    async def apply(_: None) -> TransportKvitteringType:
        return kvittering_ok()

    async def keep(call: Call) -> bytes:
        return await storage.once(call, apply)

    assert (await asked(receiver(keep, clock), SEND)).body == soap.wrap(b"<kept/>")


async def test_a_refused_send_gets_its_receipt(clock: MovableClock) -> None:
    """`Refused` is the receipt FEJL with 200; on a look-up it is a fault with the code."""

    async def refuse(call: Call) -> Reply:
        raise Refused("B102")

    got = await asked(receiver(refuse, clock), SEND)
    assert got.status == 200
    assert b">FEJL<" in got.body
    assert b">B102<" in got.body
    got = await asked(receiver(refuse, clock), LOOKUP)
    assert (got.status, got.code) == (500, "B102")


@pytest.mark.parametrize(
    "body",
    [
        b"<a/>",
        SEND.replace(b"SendForretningsSvarRequest", b"SendOpdateringFravaerRequest"),
        SEND.replace(b"SendForretningsSvarRequest", b"HentNogetRequest"),
        SEND.replace(b"<SagsVersion>1<", b"<SagsVersion>one<"),
    ],
)
async def test_what_an_endpoint_cannot_read(clock: MovableClock, body: bytes) -> None:
    """A Client fault without detail: the gateway parks the message and a person looks."""
    got = await asked(receiver(take, clock), body)

    assert got.status == 500
    assert got.fault.findtext("faultcode") == "soap:Client"
    assert got.fault.find("detail") is None


async def test_what_goes_wrong_inside_is_for_another_try(clock: MovableClock) -> None:
    """Any other exception is a Server fault: the same message comes again."""

    async def fail(call: Call) -> Reply:
        raise StoreUnavailable

    got = await asked(receiver(fail, clock), SEND)
    assert (got.fault.findtext("faultcode"), got.code) == ("soap:Server", "InternalError")

    async def hang_up(call: Call) -> Reply:
        raise HangUp

    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asked(receiver(hang_up, clock), SEND)


async def test_a_contradicting_action_and_tolerances_are_noted(
    clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The body decides; what was tolerated stands in the log."""
    latin = SEND.replace(b'<?xml version="1.0" encoding="UTF-8"?>', "<!-- æ -->".encode("latin-1"))
    with caplog.at_level(logging.INFO, "endpoint"):
        assert (await asked(receiver(take, clock), latin, 'SOAPAction: "urn:other"')).status == 200
        assert (await asked(receiver(take, clock), SEND, 'SOAPAction: ""')).status == 200
    assert caplog.messages.count("soap.action_contradicts") == 1
    assert caplog.messages.count("soap.tolerated") == 1


async def test_the_message_id_is_echoed(clock: MovableClock) -> None:
    """RelatesTo comes with the answer and with a fault."""
    wsa = "http://www.w3.org/2005/08/addressing"
    block = f'<S:Header><w:MessageID xmlns:w="{wsa}">urn:1</w:MessageID></S:Header><S:Body>'.encode()
    for body in (SEND, SEND.replace(b"<SagsVersion>1<", b"<SagsVersion>one<")):
        got = await asked(receiver(take, clock), body.replace(b"<S:Body>", block, 1))
        assert etree.fromstring(got.body).findtext(f".//{{{wsa}}}RelatesTo") == "urn:1"


async def test_a_big_message_is_read_beside_the_loop(clock: MovableClock) -> None:
    """A document above 64 KiB is read in a thread, to the same end."""
    big = SEND.replace(b"<S:Body>", b"<S:Body><!--" + b"x" * BULK + b"-->")
    assert (await asked(receiver(take, clock), big)).status == 200


async def test_a_callback_is_taken_at_any_path(clock: MovableClock) -> None:
    """A receiver answers wherever it is mounted, unless it was given a path; it describes the callback contract there."""
    app = receiver(take, clock, Service.SYGEFRAVAER_JC)
    for path in ("/", "/any/where", PATHS["SygefravaerJC"]):
        assert (await asked(app, EVENT, 'SOAPAction: ""', path=path)).status == 200
    app = receiver(take, clock, Service.SYGEFRAVAER_JC, path="/here")
    assert (await asked(app, EVENT, path="/there")).status == 404
    async with running(app) as server, connected(server) as wire:
        assert b"SygefravaerJCModtager" in (await wire.post(b"", "/here?wsdl", method="GET")).body


async def test_rules_are_judged_when_an_environment_is_given(clock: MovableClock) -> None:
    """With an environment the contract's rules count too; without contexts the municipality is the header's."""
    app = receiver(take, clock, environment=Environment.TEST)
    invalid = (SAMPLES / "invalid" / "G001.M2.Beskedtype-of-another.xml").read_bytes()
    got = await asked(app, invalid)
    assert got.status == 200
    assert b">G001<" in got.body
    assert b">OK<" in (await asked(receiver(take, clock), invalid)).body

    app = receiver(take, clock, Service.SYGEFRAVAER_JC, environment=Environment.TEST)
    bare = soap.read(EVENT).element
    for context in list(bare)[:2]:
        if "Context" in str(context.tag):
            bare.remove(context)
    got = await asked(app, soap.forward(bare))
    assert got.status == 200
    assert f"{{{NS_KVITTERING}}}TransportKvittering" in {one.tag for one in etree.fromstring(got.body).iter()}


async def test_only_pinned_callers_are_let_in(
    pki: Pki, tls: ssl.SSLContext, jobcenter: Issued, platform: Issued, clock: MovableClock
) -> None:
    """A trusted certificate that is not on the list is 403, closed; so is none at all."""
    app = receiver(take, clock, pinned=frozenset({platform.serial_key}), peers=Peers())
    async with running(app, tls=tls) as server:
        async with connected(server, caller(pki, platform)) as wire:
            assert (await wire.post(SEND)).status == 200
        async with connected(server, caller(pki, jobcenter)) as wire:
            got = await wire.post(SEND)
            assert (got.status, got.headers["connection"]) == (403, "close")
    assert (await asked(receiver(take, clock, pinned=frozenset()), SEND)).status == 403


async def test_typed_messages_have_types(clock: MovableClock) -> None:
    """A handler can match on the message's class."""

    async def typed(call: Call) -> Reply:
        assert isinstance(call.message, HentSagsListeRequest)
        return await take(call)

    assert (await asked(receiver(typed, clock), LOOKUP)).status == 200


# --- the server ---


async def test_a_taken_port_is_named(seen: Seen, clock: MovableClock) -> None:
    """A second listener on a port is refused with what to do."""
    async with running(door(seen, clock)) as server:
        with pytest.raises(UsageError) as refused:
            await Server(door(seen, clock), port=server.port).start()
    assert refused.value.code == "AddressInUse"
    assert str(server.port) in refused.value.text


async def test_files_that_make_no_tls(pki: Pki, platform: Issued, jobcenter: Issued, tmp_path: Path) -> None:
    """A missing file, or a key of another certificate, is refused before anything listens."""
    for certificate, key in ((tmp_path / "missing", platform.key), (platform.certificate, jobcenter.key)):
        with pytest.raises(UsageError) as refused:
            server_tls(certificate, key, pki.ca)
        assert refused.value.code == "TlsFiles"


async def test_stop_finishes_what_is_being_answered(seen: Seen, clock: MovableClock) -> None:
    """Idle connections are closed, a call in flight gets its answer, nothing new is taken."""

    async def slowly(_: Inbound) -> None:
        await asyncio.sleep(0.3)

    seen.act = slowly
    server = Server(door(seen, clock), grace=5)
    await server.stop()
    await server.start()
    assert server.url == f"http://127.0.0.1:{server.port}"
    async with connected(server) as busy, connected(server) as idle:
        await busy.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n<a/>".encode())
        while not seen.inbound:
            await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(server.stop())
        got = await busy.answer()
        assert (got.status, got.headers["connection"]) == (200, "close")
        assert await idle.closed()
        await stopping
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_stop_does_not_wait_for_ever(seen: Seen, clock: MovableClock) -> None:
    """What is not done after the grace is cancelled and its connection cut."""

    async def never(_: Inbound) -> None:
        await asyncio.sleep(60)

    seen.act = never
    server = Server(door(seen, clock), grace=0.1)
    await server.start()
    async with connected(server) as wire:
        await wire.send(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n<a/>".encode())
        while not seen.inbound:
            await asyncio.sleep(0.01)
        await asyncio.wait_for(server.stop(), 5)
        assert await wire.closed()
    assert server._state.tasks == set()


async def test_several_listeners_in_one_loop(seen: Seen, clock: MovableClock) -> None:
    """One process may serve several applications."""
    async with running(door(seen, clock)) as one, running(door(seen, clock), host="::1") as two:
        assert one.port != two.port
        assert two.url == f"http://[::1]:{two.port}"


def test_it_works_on_uvloop(pki: Pki, platform: Issued, jobcenter: Issued, clock: MovableClock) -> None:
    """The processes run on uvloop: who calls is known there too, and a refused body gets its answer."""
    seen = Seen()

    async def once() -> list[int]:
        tls = server_tls(platform.certificate, platform.key, pki.ca, [pki.crl])
        app = HttpDoor({PATH: seen}, clock=clock, peers=Peers())
        async with running(app, tls=tls) as server:
            assert await refused_at_the_handshake(server, caller(pki, None))
            async with connected(server, caller(pki, jobcenter)) as wire:
                first = await wire.post(b"<a/>")
                second = await wire.post(b"x" * 6_000_000)
        return [first.status, second.status]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(once()) == [200, 413]
    assert seen.inbound[0].identity == from_der(jobcenter.der)


# --- head and body in one piece ---


class Packets(asyncio.Transport):
    """A wire that keeps apart what was written apart."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.packets.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


async def written(path: str) -> list[bytes]:
    """Give the packets in which an answer leaves: of /small, of /big, of /apart (the body comes later)."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b"x" * (100_000 if scope["path"] == "/big" else 10)
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        if scope["path"] == "/apart":
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": body})

    wire, server = Packets(), Server(app)
    protocol = TlsProtocol(config=server._config, server_state=server._state, app_state={})
    protocol.connection_made(wire)
    protocol.data_received(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(5):
        while not wire.closed:
            await asyncio.sleep(0.01)
    protocol.connection_lost(None)
    return wire.packets


async def test_an_answer_leaves_in_one_piece() -> None:
    """Head and body are one record; a long body is not copied for it, and a head does not wait for a late body."""
    (whole,) = await written("/small")
    assert whole.startswith(b"HTTP/1.1 200")
    assert whole.endswith(b"\r\n\r\nxxxxxxxxxx")
    for path in ("/big", "/apart"):
        head, body = await written(path)
        assert head.endswith(b"\r\n\r\n")
        assert set(body) == {ord("x")}
