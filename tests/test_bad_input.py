# SPDX-License-Identifier: MPL-2.0
"""Bad input at a real gateway: each kind has its named answer, stores nothing, tells no value, and hurts nobody."""

from __future__ import annotations

import asyncio
import csv
import io
import ssl
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import aiohttp
import pytest
from lxml import etree

from corridor import AARHUS, FAELLES, RANDERS, SAMPLES, Corridor, another, message
from sygefravaer.client import client_tls
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.identity import from_der
from sygefravaer.soap import Limits

CPR = "0101505012"  # of the samples
SECRET = "Hemmeligt-3f1b"  # what no answer may repeat
NAME = "SendForretningsSvar"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
ENVELOPE = f'<s:Envelope xmlns:s="{SOAP}"><s:Body>%s</s:Body></s:Envelope>'


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, limits=Limits(read_seconds=0.4)) as made:
        yield made


async def unharmed(corridor) -> None:
    """Nothing was stored, nobody was called, and the next good call is served."""
    for table in ("message", "lane", "attempt", "unheard"):
        assert await corridor.rows(table) == []
    assert all(receiver.calls == [] for receiver in corridor.receivers.values())
    told = await corridor.send("HentSag", message("HentSag"))
    assert told.status == 200


def bytes_of(envelope: etree._Element) -> bytes:
    return etree.tostring(envelope, encoding="UTF-8")


def with_dtd(declaration: str, used: str = "") -> bytes:
    return f"<!DOCTYPE s [{declaration}]>{ENVELOPE % f'<a>{SECRET}{used}</a>'}".encode()


BOMB = (
    '<!ENTITY a "'
    + "x" * 100
    + '">'
    + "".join(f'<!ENTITY {name} "{f"&{before};" * 20}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True))
)
DEEP = ENVELOPE % ("<a>" * 10_000 + SECRET + "</a>" * 10_000)
WIDE = ENVELOPE % ("<a " + " ".join(f'a{number}="{SECRET}"' for number in range(50_000)) + "/>")
TWO = ENVELOPE % (etree.tostring(message(NAME)[-1][0]).decode() * 2)
OTHER = ENVELOPE % f'<SendNoget xmlns="urn:other">{SECRET}{CPR}</SendNoget>'


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (SECRET.encode(), 400, "MalformedRequest"),
        (b"", 400, "MalformedRequest"),
        (b"\x00\x01\x02", 400, "MalformedRequest"),
        (with_dtd(""), 500, "MalformedRequest"),
        (with_dtd('<!ENTITY f SYSTEM "file:///etc/hostname">', "&f;"), 500, "MalformedRequest"),
        (with_dtd(BOMB, "&i;"), 500, "MalformedRequest"),
        (with_dtd('<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;'), 500, "MalformedRequest"),
        (DEEP.encode(), 500, "MalformedRequest"),
        (WIDE.encode(), 500, "MalformedRequest"),
        (TWO.encode(), 500, "MalformedRequest"),
        ((ENVELOPE % "").encode(), 500, "MalformedRequest"),
        (f"<a>{SECRET}</a>".encode(), 500, "MalformedRequest"),
        (OTHER.encode(), 500, "OperationNotFound"),
    ],
    ids=[
        "not XML",
        "nothing",
        "binary",
        "DTD",
        "external entity",
        "entity bomb",
        "parameter entity",
        "10 000 levels",
        "50 000 attributes",
        "two body children",
        "no body child",
        "no envelope",
        "unknown operation",
    ],
)
async def test_what_is_no_request(corridor, body, status, code):
    """A fault that names the rule; the parser opens nothing and falls over nothing."""
    told = await corridor.send(NAME, io.BytesIO(body))

    assert (told.status, told.faultcode, told.code) == (status, "Client", code)
    assert SECRET not in told.body.decode()
    assert CPR not in told.body.decode()
    assert len(told.body) < 4096
    assert [row["code"] for row in await corridor.rows("audit")] == [code]
    await unharmed(corridor)


async def test_body_that_is_too_big(corridor):
    """Six megabytes are refused by HTTP, whether announced or not."""
    body = bytes_of(message(NAME)).replace(b"</S:Body>", b"<!--" + b"x" * 6_000_000 + b"--></S:Body>")

    announced = await corridor.send(NAME, io.BytesIO(body))

    async def chunks():
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=corridor.tls("viborg"))) as session,
        session.post(corridor.url(NAME), data=chunks(), headers={"Content-Type": "text/xml"}) as response,
    ):
        unannounced = response.status

    assert (announced.status, unannounced) == (413, 413)
    await unharmed(corridor)


def invalid() -> list[tuple[str, str, str, str]]:
    """Every invalid twin of a request: file, operation, level, what is wrong."""
    found = []
    for row in csv.DictReader((SAMPLES / "invalid" / "index.csv").read_text(encoding="utf-8").splitlines()):
        element = etree.parse(SAMPLES / "invalid" / row["file"]).getroot()[-1][0]
        name = etree.QName(element).localname.removesuffix("Request")
        if name in OPERATIONS and row["expected"] != "G011":  # the test mark is refused in production only
            found.append((row["file"], name, row["level"], row["expected"]))
    return found


async def test_every_invalid_sample_has_its_answer(corridor):
    """A schema error names element and rule and never the value, a rule has its code; for each of the seven messages."""
    wrong, met = [], set()
    for file, name, level, expected in invalid():
        body = (SAMPLES / "invalid" / file).read_bytes()
        told = await corridor.send(name, body)
        met.add((name, level))
        text = told.body.decode()
        if expected in {"MunicipalityCVR", "AuthorityContext"}:
            wanted = told.code in {"AuthorityContextInvalid", "SchemaValidationFailed"}
        elif level == "schema":
            wanted = told.code == "SchemaValidationFailed" and expected in text
        else:
            wanted = told.code == expected
        if told.status != 500 or told.faultcode != "Client" or not wanted or CPR in text:
            wrong.append((file, told.status, told.code, text[-600:]))

    assert wrong == []
    assert met >= {(name, "schema") for name in OPERATIONS} | {(name, "rule") for name in OPERATIONS}
    await unharmed(corridor)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_schema_error_tells_no_value(corridor, name):
    """Values that are wrong, and elements that nobody knows, are not repeated in the fault."""
    for field in ("BeskedID", "Kommunekode", "Afsendelsestidspunkt", "SnitfladeID", "CprNummer"):
        told = await corridor.send(name, message(name, **{field: SECRET * 2}))
        assert (told.status, told.code) == (500, "SchemaValidationFailed")
        assert field in told.body.decode()
        assert SECRET not in told.body.decode()
    await unharmed(corridor)


# --- who calls ---


async def handshake_fails(corridor, tls: ssl.SSLContext) -> bool:
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.post(corridor.url(NAME), data=bytes_of(message(NAME))) as response:
                await response.read()
        except (aiohttp.ClientError, OSError):
            return True
    return False


async def test_certificates_that_open_nothing(corridor, pki):
    """Expired, of another authority, revoked, or none at all: the connection; unregistered: a fault."""
    expired = pki.get("expired") or pki.issue("expired", "12345674", not_after=datetime.now(UTC) - timedelta(days=1))
    foreign = pki.foreign.get("foreign") or pki.foreign.issue("foreign", "12345674")
    none = ssl.create_default_context(cafile=str(pki.ca))

    for issued in (expired, foreign):
        assert await handshake_fails(corridor, client_tls(issued.certificate, issued.key, pki.ca))
    assert await handshake_fails(corridor, none)
    told = await corridor.send(NAME, message(NAME), caller="stranger")
    assert (told.status, told.code) == (500, "UserSystemNotFound")
    await unharmed(corridor)


async def test_certificate_that_is_revoked_while_its_connection_is_open(corridor):
    """A call on a connection that was good: 403 without SOAP, and the connection is closed."""
    before = await corridor.send("HentSag", message("HentSag"))
    holder = from_der(corridor.issued["viborg"].der)
    corridor.peers.revoked = frozenset({(holder.issuer, holder.serial)})

    told = await corridor.send("HentSag", message("HentSag"))
    corridor.peers.revoked = frozenset()
    corridor.receivers["ksd"].calls.clear()

    assert (before.status, told.status, told.headers["connection"]) == (200, 403, "close")
    assert b"Envelope" not in told.body
    await unharmed(corridor)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_wrong_authority(corridor, name):
    """No context, a number with a wrong check sum, no agreement, an agreement of another municipality."""
    caller = "viborg" if OPERATIONS[name].to_ksd else "ksd"
    missing, wrong = message(name), message(name)
    missing[-1][0].remove(missing[-1][0].find("{*}AuthorityContext"))
    next(wrong.iter("{*}MunicipalityCVR")).text = "12345678"
    other = AARHUS if OPERATIONS[name].to_ksd else RANDERS

    codes = [
        (await corridor.send(name, each, caller=caller)).code
        for each in (missing, wrong, message(name, cvr=other, AfsenderSystemID=uuid4()))
    ]

    assert codes == ["SecurityModelNotProvided", "AuthorityContextInvalid", "ServiceAgreementNotFound"]
    await unharmed(corridor)


# --- what the message says ---


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_cvr_that_is_not_the_senders(corridor, name):
    """G004, also when the other municipality is one of the caller's own."""
    for field in ("AfsenderMyndighedCVR", "ModtagerMyndighedCVR"):
        told = await corridor.send(name, message(name, **{field: AARHUS}))
        assert (told.status, told.code) == (500, "G004")
    await unharmed(corridor)


@pytest.mark.parametrize("name", ["SendHaendelseSygefravaerssag", "SendAnmodningForlaengelse"])
async def test_cpr_of_another_case(corridor, name):
    """A header that names another person than its case does is G001."""
    told = await corridor.send(name, message(name, CprNummer="0202505022"))

    assert (told.status, told.code) == (500, "G001")
    assert "0202505022" not in told.body.decode()
    await unharmed(corridor)


async def test_unknown_code(corridor):
    """A code that never was in the list is a schema error that names the element."""
    envelope = message("SendHaendelseSygefravaerssag")
    next(envelope.iter(f"{FAELLES}Sagsart")).text = "10"

    told = await corridor.send("SendHaendelseSygefravaerssag", envelope)

    assert told.code == "SchemaValidationFailed"
    assert "Sagsart" in told.body.decode()
    await unharmed(corridor)


async def test_same_id_with_another_body(corridor):
    """G002, and what is there stays."""
    sent = message(NAME)
    await corridor.send(NAME, sent)
    before = await corridor.rows("message")

    told = await corridor.send(NAME, another(sent, CprNummer="0202505022"))

    assert (told.status, told.code) == (500, "G002")
    assert "0202505022" not in told.body.decode()
    assert await corridor.rows("message") == before


# --- how it is sent ---


async def test_slow_client(corridor):
    """A body that does not come in time is refused, and the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", corridor.server.port, ssl=corridor.tls("viborg"))
    path = OPERATIONS[NAME].service.path
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n<s:Env".encode())
    await writer.drain()

    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    await unharmed(corridor)


async def test_client_that_disconnects_in_the_middle(corridor):
    """Half a request leaves no trace: neither a message nor a record of a refusal."""
    body = bytes_of(message(NAME))
    path = OPERATIONS[NAME].service.path
    for part in (0, 10, len(body) - 1):
        _, writer = await asyncio.open_connection("127.0.0.1", corridor.server.port, ssl=corridor.tls("viborg"))
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body[:part])
        await writer.drain()
        writer.transport.abort()
    await asyncio.sleep(0.1)

    assert await corridor.rows("audit") == []
    await unharmed(corridor)


async def test_client_that_goes_away_before_the_answer(corridor):
    """What was accepted is delivered, whoever still listens; a repeat has its receipt."""
    go = asyncio.Event()
    ksd = corridor.receivers["ksd"]
    fine = ksd.answer

    async def later(call):
        await go.wait()
        return await fine(call)

    ksd.answer = later
    sent = message(NAME)
    body = bytes_of(sent)
    _, writer = await asyncio.open_connection("127.0.0.1", corridor.server.port, ssl=corridor.tls("viborg"))
    head = f"POST {OPERATIONS[NAME].service.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    async with asyncio.timeout(5):
        while not ksd.calls:
            await asyncio.sleep(0.01)
    writer.transport.abort()
    go.set()
    await corridor.until(sent, "delivered")

    assert (await corridor.send(NAME, sent)).kode == "OK"
    assert len(ksd.calls) == 1
