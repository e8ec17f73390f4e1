# SPDX-License-Identifier: MPL-2.0
"""What must not stop deliveries, and what a receiver's odd word means: seen from both ends of the wire."""

from __future__ import annotations

import asyncio
import gzip
import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from cryptography import x509
from lxml import etree

from corridor import Corridor, Receiver, fine, message
from sygefravaer import identity, soap
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.errors import HttpRefusal
from sygefravaer.lanes import Lanes
from sygefravaer.soap import LIMITS

CPR = "0101505012"  # of the samples
NAME = "SendForretningsSvar"
XSI = "http://www.w3.org/2001/XMLSchema-instance"


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, budget=0.5, lanes=Lanes(jitter=lambda: 1.0)) as made:
        yield made


@pytest.fixture
def ksd(corridor) -> Receiver:
    return corridor.receivers["ksd"]


def kinds(caplog, event: str) -> list[type[BaseException]]:
    return [record.exc_info[0] for record in caplog.records if record.getMessage() == event]


# --- the worker and the attempt ---


async def test_worker_outlives_what_nobody_foresaw(corridor, ksd, caplog, monkeypatch):
    """An exception that is no database error is logged with its kind; after a pause the worker goes on."""
    of_lanes, broken = Lanes.claim, 2

    async def claim(*args, **options):
        nonlocal broken
        broken -= 1
        if broken >= 0:
            raise ZeroDivisionError
        return await of_lanes(*args, **options)

    monkeypatch.setattr(Lanes, "claim", claim)
    monkeypatch.setattr("sygefravaer.delivery.worker.POLL", 0.02)
    corridor.delivery._receivers.of(next(iter(await corridor.rows("system", "name = 'ksd'")))["system_id"]).inline = 64
    sent = message(NAME)

    corridor.work()
    told = await corridor.send(NAME, sent)
    await corridor.until(sent, "delivered")

    assert told.code == "G006"
    assert kinds(caplog, "worker.failed") == [ZeroDivisionError] * 2
    assert not corridor.worker.done()


async def test_attempt_that_breaks_counts_as_a_failure(corridor, ksd, caplog, monkeypatch):
    """The message keeps its place, waits for the back-off, and goes again; no lease has to run out."""
    client = corridor.clients
    reach = client.to

    def broken(way):
        raise ZeroDivisionError(CPR)

    monkeypatch.setattr(client, "to", broken)
    sent = message(NAME)
    told = await corridor.send(NAME, sent)
    row = await corridor.stored(sent)
    monkeypatch.setattr(client, "to", reach)
    corridor.work()
    corridor.clock.advance(timedelta(seconds=2))
    await corridor.until(sent, "delivered")

    assert (told.status, told.code) == (200, "G006")
    assert (row["status"], row["failures"], row["detail"]) == ("queued", 1, "ZeroDivisionError")
    assert kinds(caplog, "delivery.attempt_failed") == [ZeroDivisionError]
    assert len(ksd.calls) == 1


async def test_caller_is_told_g006_when_the_gateway_stops_meanwhile(corridor, ksd):
    """An attempt that is cut off by the end of the process leaves a caller who waits with the truth: it is stored."""
    go = asyncio.Event()

    async def never(call):
        await go.wait()
        raise ConnectionError

    ksd.answer = never
    corridor.gateway._budget = 5.0
    sent = message(NAME)
    waiting = asyncio.create_task(corridor.send(NAME, sent))
    async with asyncio.timeout(5):
        while not ksd.calls:
            await asyncio.sleep(0.01)

    await corridor.delivery.stop(patience=0)
    go.set()

    told = await waiting
    assert (told.status, told.kode, told.code) == (200, "ADVARSEL", "G006")


# --- the corridor ---


async def test_what_nobody_foresaw_is_told_in_its_place_and_recorded(corridor, caplog, monkeypatch):
    """InternalError to one who is let in; a stranger, and one without an agreement, are told that first."""

    def broken(operation, element):
        raise ZeroDivisionError(CPR)

    monkeypatch.setattr("sygefravaer.contract.codec.decode_request", broken)

    told = [await corridor.send(NAME, message(NAME), caller=caller) for caller in ("stranger", "aarhus", "viborg")]

    codes = ["UserSystemNotFound", "ServiceAgreementNotFound", "InternalError"]
    assert [one.code for one in told] == codes
    assert [row["code"] for row in await corridor.rows("audit")] == codes
    assert (told[-1].status, told[-1].faultcode) == (500, "Server")
    assert told[-1].headers["calluuid"] in told[-1].body.decode()
    assert CPR not in told[-1].body.decode()
    assert kinds(caplog, "judge.failed") == [ZeroDivisionError] * 3
    assert await corridor.rows("message") == []


async def test_look_up_that_breaks_inside_has_an_outcome_on_record(corridor, caplog, monkeypatch):
    """InternalError, with the block, and the row of the question has its row of the outcome."""

    def broken(way):
        raise ZeroDivisionError(CPR)

    monkeypatch.setattr(corridor.clients, "to", broken)

    told = await corridor.send("HentSag", message("HentSag"))

    asked, answered = await corridor.rows("audit")
    assert (told.status, told.faultcode, told.code) == (500, "Server", "InternalError")
    assert told.headers["calluuid"] in told.body.decode()
    assert CPR not in told.body.decode()
    assert (asked["event"], answered["event"], answered["code"]) == ("lookup.asked", "lookup.answered", "InternalError")


# --- what a receiver's fault means ---


@pytest.mark.parametrize(
    ("faultcode", "side"),
    [
        ("s:Client", "Client"),
        ("s:Client.Authentication", "Client"),
        ("s:MustUnderstand", "Client"),
        ("s:VersionMismatch", "Client"),
        ("s:Server", "Server"),
        ("a:InternalServiceFault", "Server"),
        ("", "Server"),
    ],
)
def test_only_a_client_fault_is_the_callers(faultcode, side):
    """A code of the receiver's own (WCF's InternalServiceFault) is trouble over there: worth another try."""
    body = soap.wrap(f"<soap:Fault><faultcode>{faultcode}</faultcode></soap:Fault>".encode())

    assert soap.answer(body, OPERATIONS[NAME]).faultcode == side


# --- what would not be read at the other end ---


@pytest.mark.parametrize("name", [NAME, "HentSag"])
async def test_message_that_unpacks_to_more_than_a_receiver_reads_is_refused(corridor, ksd, name):
    """A gzip body, or Latin-1, may be small on its way in; it goes on as it is, so it must fit there too."""
    comment = b"<!--" + b"x" * LIMITS.body + b"--></S:Body>"
    whole = etree.tostring(message(name), encoding="UTF-8")
    inside = whole.replace(b"<ns", b"<!--" + b"x" * LIMITS.body + b"--><ns", 1)
    told = await corridor.send(name, gzip.compress(inside), headers={"Content-Encoding": "gzip"})
    beside = await corridor.send(
        name, gzip.compress(whole.replace(b"</S:Body>", comment)), headers={"Content-Encoding": "gzip"}
    )

    assert (told.status, told.faultcode, told.code) == (500, "Client", "MalformedRequest")
    assert beside.status == 200  # what stands outside the request element ends here
    assert len(ksd.calls) == 1
    assert len(await corridor.rows("message")) == (name == NAME)


async def test_declarations_at_the_limit_are_read_at_the_other_end_or_refused(corridor, ksd):
    """The envelope that a message goes on in has a declaration of its own: none is accepted that breaks on that."""
    for number in range(LIMITS.attributes - 12, LIMITS.attributes + 1):
        text = etree.tostring(message(NAME), encoding="unicode")
        declared = " ".join(f'xmlns:a{one}="urn:{one}"' for one in range(number - text.count("xmlns")))
        told = await corridor.send(NAME, text.replace("<S:Envelope", f"<S:Envelope {declared}", 1).encode())
        assert told.kode == "OK" or told.code == "MalformedRequest"

    assert {row["status"] for row in await corridor.rows("message")} == {"delivered"}


async def test_large_answer_is_read_beside_the_loop(corridor, ksd, monkeypatch):
    """What a receiver sends, however much, does not hold up the other calls."""
    threads = []
    of_soap = soap.answer

    def answer(body, *args, **options):
        threads.append((len(body) > 65_536, threading.current_thread() is threading.main_thread()))
        return of_soap(body, *args, **options)

    async def large(call):
        return (await fine(call)).replace(b"</", b"<!--" + b"x" * 100_000 + b"--></", 1)

    monkeypatch.setattr(soap, "answer", answer)
    await corridor.send("HentSag", message("HentSag"))
    ksd.answer = large
    told = await corridor.send("HentSag", message("HentSag"))

    assert told.status == 200
    assert threads == [(False, True), (True, False)]


# --- what is named in a document is not fetched ---


@pytest.mark.parametrize("hint", ['xsi:schemaLocation="urn:x {url}"', 'xsi:noNamespaceSchemaLocation="{url}"'])
async def test_hint_to_a_schema_is_not_followed(corridor, hint):
    """Neither by the parser nor by the judge: nobody connects to what the message names."""
    visits = []
    listener = await asyncio.start_server(lambda *_: visits.append(1), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x.xsd"
    text = etree.tostring(message(NAME), encoding="unicode")
    element = f'Envelope xmlns:xsi="{XSI}" {hint.format(url=url)}'
    instruction = f'<?xml-stylesheet href="{url}"?>'

    told = await corridor.send(NAME, (instruction + text.replace("Envelope", element, 1)).encode())
    listener.close()

    assert (told.status, told.kode) == (200, "OK")
    assert visits == []


# --- certificates from a proxy ---


def test_certificate_of_no_known_version_is_refused(monkeypatch):
    """403, as for whatever else is no certificate."""

    def load(_):
        raise x509.InvalidVersion("0", 0)

    monkeypatch.setattr(identity.x509, "load_der_x509_certificate", load)
    with pytest.raises(HttpRefusal) as refusal:
        identity.from_der(uuid4().bytes)
    assert refusal.value.status == 403
