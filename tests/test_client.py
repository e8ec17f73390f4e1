# SPDX-License-Identifier: MPL-2.0
"""A caller against real endpoints over mutual TLS, and against servers that misbehave on the wire."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from sygefravaer import client as client_room
from sygefravaer import soap
from sygefravaer.cli import calling
from sygefravaer.client import Client, Kind, Outcome, classify, client_tls, codes, hoved
from sygefravaer.clock import MovableClock
from sygefravaer.contract import codec
from sygefravaer.contract.messages import (
    AuthorityContextType,
    HentSagsListeRequest,
    HentSagsListeResponse,
    Reply,
    SagsListeType,
    SendForretningsSvarRequest,
    SygefravaerResponse,
    TransportKvitteringType,
    kvittering_advarsel,
    kvittering_fejl,
    kvittering_ok,
)
from sygefravaer.contract.operations import OPERATIONS, Environment, Service, judge
from sygefravaer.contract.values import Cpr, Cvr
from sygefravaer.endpoint import Answer, Call, Endpoint, HttpDoor, Inbound, Peers, Server, server_tls
from sygefravaer.errors import (
    FaultReceived,
    HttpFailure,
    HttpRefusal,
    NoAnswer,
    NotAnEnvelope,
    Refused,
    SourceSystemTimeout,
    StoreUnavailable,
    Unreachable,
    Unreadable,
    UsageError,
)
from sygefravaer.identity import from_der
from sygefravaer.sandbox.pki import Issued, Pki
from sygefravaer.soap import FaultAnswer, ReceiptAnswer, ReplyAnswer

CVR = "29189846"
SENDER = UUID("7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24")
SAMPLES = Path(__file__).parent / "samples"
PATH = "/service/KSD/Sygefravaer/2"
SEND = OPERATIONS["SendForretningsSvar"]
LOOKUP = OPERATIONS["HentSagsListe"]
SENT = soap.element_bytes(soap.read((SAMPLES / "SendForretningsSvarRequest.min.xml").read_bytes()).element)
MESSAGE = codec.decode(soap.read(soap.wrap(SENT)).element, SendForretningsSvarRequest)
G006 = kvittering_advarsel("G006")
OK = soap.wrap(codec.encode_reply(SEND, SygefravaerResponse(TransportKvittering=kvittering_ok())))


@dataclass
class Receiver:
    """A receiver that answers with what it is told, one after the other; the last one stays."""

    answers: list[TransportKvitteringType | Exception] = field(default_factory=lambda: [kvittering_ok()])
    calls: list[Call] = field(default_factory=list)

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if call.operation.lookup:
            return HentSagsListeResponse(SagsListe=SagsListeType(), AntalIAlt=0, FlereSider=False)
        return SygefravaerResponse(TransportKvittering=answer)


@pytest.fixture(scope="session")
def platform(pki: Pki) -> Issued:
    return pki.issue("Platformen som server", "19435075", key="rsa")


@pytest.fixture(scope="session")
def own(pki: Pki) -> Issued:
    return pki.issue("Den der kalder", CVR)


@pytest.fixture
def tls(pki: Pki, own: Issued) -> ssl.SSLContext:
    return client_tls(own.certificate, own.key, pki.ca)


@asynccontextmanager
async def serving(
    receiver: Callable[[Call], Awaitable[Reply | bytes]], pki: Pki, platform: Issued, clock: MovableClock
) -> AsyncIterator[Server]:
    handlers = dict.fromkeys(("SendForretningsSvar", "HentSagsListe"), receiver)
    server = Server(
        Endpoint(Service.SYGEFRAVAER, handlers, clock=clock),
        tls=server_tls(platform.certificate, platform.key, pki.ca),
        grace=1,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def talking(answer: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """Serve one way of answering over plain HTTP, and give its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        server.close()


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def plain(url: str, **options: Any) -> Client:
    return Client(url, service=Service.SYGEFRAVAER, tls=None, **options)


# --- one attempt ---


async def test_a_typed_call_over_mutual_tls(
    pki: Pki, platform: Issued, own: Issued, tls: ssl.SSLContext, clock: MovableClock
) -> None:
    """The message goes out, the receiver knows who calls, and the reply comes back typed, over one connection."""
    receiver = Receiver()
    async with serving(receiver, pki, platform, clock) as server:
        async with Client(
            server.url.replace("127.0.0.1", "localhost") + PATH,
            service=Service.SYGEFRAVAER,
            tls=tls,
        ) as client:
            reply = await client.call(MESSAGE)
            question = HentSagsListeRequest(
                AuthorityContext=AuthorityContextType(MunicipalityCVR=CVR),
                Hoved=hoved(LOOKUP, municipality=CVR, sender=SENDER, cpr=Cpr("0101505012"), now=clock.now()),
            )
            listed = await client.call(question)
            assert len(server._state.connections) == 1
        await client.close()
        with pytest.raises(Unreachable):  # closed is closed, whoever comes late, and does not try again for days
            await client.call_until_final(MESSAGE, clock=clock)

    assert reply == SygefravaerResponse(TransportKvittering=kvittering_ok())
    assert (listed.AntalIAlt, listed.SagsListe.Sag) == (0, ())
    assert receiver.calls[0].identity == from_der(own.der)
    assert receiver.calls[0].message == MESSAGE


async def test_what_goes_over_the_wire(clock: MovableClock) -> None:
    """text/xml in UTF-8, the quoted SOAPAction of the WSDL or the empty one of a callback, no cookies, no coding."""
    seen: list[Inbound] = []

    async def keep(inbound: Inbound) -> Answer:
        seen.append(inbound)
        return Answer(status=200, body=OK, headers=(("Set-Cookie", "a=b"),))

    server = Server(HttpDoor({"/x": keep}, clock=clock, peers=Peers(required=False)))
    await server.start()
    for callback in (False, True):
        async with plain(f"{server.url}/x", callback=callback) as client:
            for _ in range(2):
                answer = await client.post(SENT, SEND)
                assert isinstance(answer, ReceiptAnswer)
                assert soap.digest(soap.read(soap.wrap(answer.element)).element) == soap.digest(soap.read(OK).element)
    await server.stop()

    assert [one.headers["soapaction"] for one in seen] == [f'"{SEND.soap_action}"'] * 2 + ['""'] * 2
    assert {one.headers["content-type"] for one in seen} == {"text/xml; charset=utf-8"}
    assert {one.body for one in seen} == {soap.wrap(SENT)}
    assert not any({"cookie", "accept-encoding"} & one.headers.keys() for one in seen)


async def test_nobody_listens(pki: Pki, tls: ssl.SSLContext) -> None:
    """No connection: surely nothing was received. The same when the server is not who it should be."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        async with plain(url) as client:
            with pytest.raises(Unreachable):
                await client.post(SENT, SEND)


async def test_a_server_of_a_foreign_authority_is_not_called(
    pki: Pki, own: Issued, tls: ssl.SSLContext, clock: MovableClock
) -> None:
    """A server certificate that does not chain to the bundle ends the attempt before anything is sent."""
    receiver = Receiver()
    impostor = pki.issue("Bedrager", "19435075", ca=pki.foreign)
    async with (
        serving(receiver, pki, impostor, clock) as server,
        Client(server.url + PATH, service=Service.SYGEFRAVAER, tls=tls) as client,
    ):
        with pytest.raises(Unreachable):
            await client.post(SENT, SEND)
    assert receiver.calls == []


async def test_a_caller_that_is_not_let_in(pki: Pki, platform: Issued, clock: MovableClock) -> None:
    """A certificate that the server refuses in the handshake is no answer, however TLS tells it."""
    foreign = pki.issue("Fremmed kalder", CVR, ca=pki.foreign)
    async with serving(Receiver(), pki, platform, clock) as server:
        tls = client_tls(foreign.certificate, foreign.key, pki.ca)
        async with Client(server.url + PATH, service=Service.SYGEFRAVAER, tls=tls) as client:
            with pytest.raises((NoAnswer, Unreachable)):
                await client.post(SENT, SEND)


async def hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        hang,
        reset,
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<a",
        b"nonsense\r\n\r\n",
        http(200, b"", "Content-Length: 5"),
    ],
)
async def test_an_attempt_whose_end_nobody_knows(answer: Any) -> None:
    """Closed, silent, reset, cut or garbled after the message left: NoAnswer."""
    async with talking(answer) as url, plain(url, timeout=0.5) as client:
        with pytest.raises(NoAnswer):
            await client.post(SENT, SEND)


async def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of an answer is read than any service has reason to send."""
    monkeypatch.setattr(client_room, "LONGEST_ANSWER", 1_000_000)
    async with talking(endless) as url, plain(url) as client:
        with pytest.raises(NotAnEnvelope, match="longer"):
            await client.post(SENT, SEND)


@pytest.mark.parametrize(
    ("answer", "status", "retry_after"),
    [
        (http(503, b"closed", "Retry-After: 120"), 503, 120.0),
        (http(503, b"", "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"), 503, None),
        (http(302, b"", "Location: http://127.0.0.1:1/"), 302, None),
        (http(404, b"<html></html>"), 404, None),
        (http(500, b"Internal Server Error"), 500, None),
    ],
)
async def test_an_http_status_without_an_envelope(answer: bytes, status: int, retry_after: float | None) -> None:
    """The status is told, with its Retry-After in seconds; no redirect is followed."""
    async with talking(answer) as url, plain(url) as client:
        with pytest.raises(HttpFailure) as failure:
            await client.post(SENT, SEND)
    assert (failure.value.status, failure.value.retry_after) == (status, retry_after)


@pytest.mark.parametrize(
    "answer",
    [http(200, b"<html></html>"), http(200), http(200, b"plain", "Content-Encoding: gzip"), http(200, soap.wrap(SENT))],
)
async def test_200_with_something_else(answer: bytes) -> None:
    """A success that is not the promised envelope is no answer."""
    async with talking(answer) as url, plain(url) as client:
        with pytest.raises(NotAnEnvelope):
            await client.post(SENT, SEND)


async def test_a_lookup_with_an_invalid_reply() -> None:
    """A typed call validates the reply by the schema before it is decoded."""
    broken = soap.wrap(f'<s:HentSagsListeResponse xmlns:s="{Service.SYGEFRAVAER.namespace}"/>'.encode())
    question = codec.decode(
        soap.read((SAMPLES / "HentSagsListeRequest.min.xml").read_bytes()).element, HentSagsListeRequest
    )
    async with talking(http(200, broken)) as url, plain(url) as client:
        assert isinstance(await client.post(codec.encode(question), LOOKUP), ReplyAnswer)
    async with talking(http(200, broken)) as url, plain(url) as client:
        with pytest.raises(NotAnEnvelope):
            await client.call(question)


async def test_compressed_answers_are_read() -> None:
    """A server that compresses unasked is understood."""
    async with talking(http(200, gzip.compress(OK), "Content-Encoding: GZIP")) as url, plain(url) as client:
        assert await client.call(MESSAGE) == SygefravaerResponse(TransportKvittering=kvittering_ok())


async def test_faults(pki: Pki, platform: Issued, tls: ssl.SSLContext, clock: MovableClock) -> None:
    """A fault without a receipt is raised with its code; one with a receipt is given like any receipt."""
    receiver = Receiver(answers=[StoreUnavailable(), Unreadable()])
    async with (
        serving(receiver, pki, platform, clock) as server,
        Client(server.url + PATH, service=Service.SYGEFRAVAER, tls=tls) as client,
    ):
        with pytest.raises(FaultReceived) as fault:
            await client.call(MESSAGE)
        assert (fault.value.faultcode, fault.value.code) == ("Server", "InternalError")
        with pytest.raises(FaultReceived) as fault:
            await client.call(MESSAGE)
        assert (fault.value.faultcode, fault.value.code) == ("Client", "Client")
    status, body = soap.fault(Refused("G002"), call_uuid=uuid4(), received_at=datetime.now(UTC))
    async with talking(http(status, body)) as url, plain(url) as client:
        assert (await client.call(MESSAGE)).TransportKvittering == kvittering_fejl("G002")


@pytest.mark.parametrize("url", ["", "localhost:8443", "ftp://x/", "/service"])
def test_what_is_no_url(url: str) -> None:
    """An address without https:// is refused before anything is tried."""
    with pytest.raises(UsageError) as refused:
        plain(url)
    assert refused.value.code == "BadUrl"


def test_files_that_make_no_tls(pki: Pki, own: Issued, tmp_path: Path) -> None:
    """A missing file is named as such before any call."""
    with pytest.raises(UsageError) as refused:
        client_tls(tmp_path / "missing", own.key, pki.ca)
    assert refused.value.code == "TlsFiles"


# --- until it is final ---


@dataclass
class Naps:
    """A clock that jumps to what is waited for, and notes how long that was."""

    at: datetime = datetime(2026, 3, 2, 9, tzinfo=UTC)
    naps: list[timedelta] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    async def sleep_until(self, due: datetime | None, *, wake: asyncio.Event) -> None:
        assert due is not None
        self.naps.append(due - self.at)
        self.at = due


async def test_the_same_bytes_until_the_receipt_is_final(
    pki: Pki, platform: Issued, tls: ssl.SSLContext, clock: MovableClock
) -> None:
    """After G006, a Server fault or a status: again after 1, 5, 15, 60 minutes, then hourly, byte for byte."""
    receiver = Receiver(answers=[G006, StoreUnavailable(), HttpRefusal(503), G006, G006, kvittering_fejl("B101")])
    naps = Naps()
    async with (
        serving(receiver, pki, platform, clock) as server,
        Client(server.url + PATH, service=Service.SYGEFRAVAER, tls=tls) as client,
    ):
        reply = await client.call_until_final(MESSAGE, clock=naps)

    assert reply.TransportKvittering == kvittering_fejl("B101")
    assert [nap.total_seconds() / 60 for nap in naps.naps] == [1, 5, 15, 60, 60]
    assert len({call.digest for call in receiver.calls}) == 1


@pytest.mark.parametrize(("wait", "given"), [(0.0, [("G006",)]), (5.0, [("G006",), ("G006",), ()])])
async def test_a_person_who_calls_waits_for_the_end(
    pki: Pki, platform: Issued, own: Issued, clock: MovableClock, *, wait: float, given: list[tuple[str, ...]]
) -> None:
    """`call` sends the same again while its receipt is G006, for as long as it is told to."""
    receiver = Receiver(answers=[G006, G006, kvittering_ok()])
    async with serving(receiver, pki, platform, clock) as server:
        caller = calling.Caller(
            url=server.url + PATH,
            certificate=own.certificate,
            key=own.key,
            ca=pki.ca,
            system_id=SENDER,
            municipality_cvr=CVR,
        )
        answered = await calling.ask(caller, SEND, SENT, wait=wait)

    assert isinstance(answered.value, TransportKvitteringType)
    assert codes(answered.value) == given[-1]
    assert len(receiver.calls) == len(given)
    assert len({call.digest for call in receiver.calls}) == 1


async def test_it_gives_up_in_the_end(pki: Pki, platform: Issued, tls: ssl.SSLContext, clock: MovableClock) -> None:
    """After five days the last receipt is given, or the last failure raised."""
    naps = Naps()
    receiver = Receiver(answers=[kvittering_advarsel("G006")])
    async with (
        serving(receiver, pki, platform, clock) as server,
        Client(server.url + PATH, service=Service.SYGEFRAVAER, tls=tls) as client,
    ):
        reply = await client.call_until_final(MESSAGE, clock=naps, give_up=timedelta(hours=3))
        assert codes(reply.TransportKvittering) == ("G006",)
        receiver.answers = [StoreUnavailable()]
        with pytest.raises(FaultReceived):
            await client.call_until_final(MESSAGE, clock=naps, give_up=timedelta(hours=3))
    assert len(receiver.calls) == 2 * 6  # at 0, 1, 6, 21, 81 and 141 minutes


async def test_a_client_fault_is_final(pki: Pki, platform: Issued, tls: ssl.SSLContext, clock: MovableClock) -> None:
    """What a receiver cannot read is not repeated; a lookup's reply is final as it is."""
    receiver = Receiver(answers=[Unreadable()])
    naps = Naps()
    async with (
        serving(receiver, pki, platform, clock) as server,
        Client(server.url + PATH, service=Service.SYGEFRAVAER, tls=tls) as client,
    ):
        with pytest.raises(FaultReceived):
            await client.call_until_final(MESSAGE, clock=naps)
    assert naps.naps == []


# --- what it means ---


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (
            ReceiptAnswer(receipt=kvittering_ok(), element=b"<r/>"),
            Outcome(kind=Kind.OK, receipt=kvittering_ok(), raw=b"<r/>"),
        ),
        (
            ReceiptAnswer(receipt=kvittering_advarsel("F306", "F307"), element=b"<r/>"),
            Outcome(kind=Kind.ADVARSEL, receipt=kvittering_advarsel("F306", "F307"), raw=b"<r/>", detail="F306 F307"),
        ),
        (
            ReceiptAnswer(receipt=G006, element=b"<r/>"),
            Outcome(kind=Kind.UNDER_WAY, receipt=G006, raw=b"<r/>", detail="G006"),
        ),
        (
            FaultAnswer(faultcode="Server", code=None, text="", receipt=kvittering_fejl("G006")),
            Outcome(kind=Kind.FEJL, receipt=kvittering_fejl("G006"), detail="G006"),
        ),
        (FaultAnswer(faultcode="Client", code="X", text=""), Outcome(kind=Kind.CLIENT_FAULT, detail="X")),
        (FaultAnswer(faultcode="Client", code=None, text=""), Outcome(kind=Kind.CLIENT_FAULT, detail="Client")),
        (FaultAnswer(faultcode="Server", code=None, text=""), Outcome(kind=Kind.SILENCE, detail="Server")),
        (FaultReceived("Client", None, ""), Outcome(kind=Kind.CLIENT_FAULT, detail="Client")),
        (FaultReceived("Server", "InternalError", ""), Outcome(kind=Kind.SILENCE, detail="InternalError")),
        (NoAnswer(), Outcome(kind=Kind.SILENCE, detail="NoAnswer")),
        (HttpFailure(503), Outcome(kind=Kind.SILENCE, detail="HTTP 503")),
        (SourceSystemTimeout(), Outcome(kind=Kind.SILENCE, detail="SourceSystemTimeout")),
        (RuntimeError("0101505012"), Outcome(kind=Kind.SILENCE, detail="RuntimeError")),
    ],
)
def test_what_an_attempt_came_to(result: Any, outcome: Outcome) -> None:
    """The receipt decides, wherever it stood; without one a Client fault is final and all else is silence."""
    assert classify(result) == outcome


def test_a_reply_to_a_lookup_is_ok() -> None:
    """Its element is kept as it came."""
    element = soap.read(soap.wrap(b"<a/>")).element
    assert classify(ReplyAnswer(element=element)) == Outcome(kind=Kind.OK, raw=soap.element_bytes(element))


# --- the header ---


def test_a_header_that_the_gateway_takes(clock: MovableClock) -> None:
    """What a sender must set is set from the municipality and the operation; ids are new unless given."""
    reference, nemrefusion = uuid4(), uuid4()
    first = hoved(
        SEND,
        municipality=Cvr(CVR),
        sender=SENDER,
        cpr=Cpr("0101505012"),
        now=clock.now(),
        reference=reference,
        nemrefusions_id=nemrefusion,
    )
    second = hoved(LOOKUP, municipality=CVR, sender=SENDER, cpr=Cpr("0101505012"), now=clock.now())

    assert (first.Beskedtype, first.SnitfladeID, first.Kommunekode) == ("SendForretningsSvar", "SF2090", "0791")
    assert (first.ReferenceBeskedID, first.NemrefusionsID) == (reference, nemrefusion)
    assert first.BeskedID != second.BeskedID
    message = HentSagsListeRequest(AuthorityContext=AuthorityContextType(MunicipalityCVR=CVR), Hoved=second)
    judge(LOOKUP, message, CVR, environment=Environment.TEST, caller_system=SENDER)


def test_a_header_for_no_municipality(clock: MovableClock) -> None:
    """A CVR that is no municipality's is the sender's own mistake."""
    with pytest.raises(UsageError):
        hoved(SEND, municipality="19435075", sender=SENDER, cpr=Cpr("0101505012"), now=clock.now())
