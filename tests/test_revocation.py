# SPDX-License-Identifier: MPL-2.0
"""Revoked certificates: lists and responders over real HTTP, judged at a real TLS door, kept over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from sygefravaer.app import revocation_watch
from sygefravaer.cli import cli
from sygefravaer.clock import MovableClock
from sygefravaer.config import load
from sygefravaer.endpoint import Answer, HttpDoor, Peers, Server, server_tls
from sygefravaer.errors import UsageError
from sygefravaer.identity import from_der
from sygefravaer.revocation import Revocation, Standing, read_authorities, read_state
from sygefravaer.sandbox.pki import Pki

CVR = "29189846"
DAY = timedelta(days=1)
XML = {"Content-Type": "text/xml"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Make an authority of this module's own, whose list its tests add to."""
    return Pki(tmp_path_factory.mktemp("authority")).create()


@pytest.fixture(scope="module")
def responder(authority):
    """Run the authority's responder as a process of its own, and give its address."""
    line = [sys.executable, "-m", "sygefravaer.sandbox.responder", str(authority.directory)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(10)
    process.stdout.close()


@dataclass
class Stub:
    """An address that answers what a test tells it to, and counts who comes."""

    url: str = ""
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    asked: int = 0
    answer: object = None

    async def handle(self, request):
        self.asked += 1
        await asyncio.sleep(self.delay)
        body = self.answer(await request.read()) if self.answer else self.body
        return web.Response(body=body, status=self.status, headers=self.headers)


@pytest.fixture
async def stub():
    made = Stub()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/list"
    yield made
    await runner.cleanup()


def watch(authority, cache, **options):
    options = {"patience": 5.0} | options
    made = Revocation(authorities=read_authorities(authority.ca), cache=cache, **options)
    made.load()
    return made


@contextlib.asynccontextmanager
async def door(authority, revocation):
    """Serve over mutual TLS whoever is not refused, and give what calls it with a certificate."""

    async def fine(_):
        return Answer(status=200, body=b"<fine/>")

    own = authority.get("server") or authority.issue("server", CVR)
    peers = Peers(revocation=revocation)
    app = HttpDoor({"/": fine}, clock=MovableClock(), peers=peers, documents=False)
    server = Server(app, tls=server_tls(own.certificate, own.key, authority.ca), grace=0.2)
    await server.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)

        async def session(issued):
            context = ssl.create_default_context(cafile=authority.ca)
            context.load_cert_chain(issued.certificate, issued.key)
            connector = aiohttp.TCPConnector(ssl=context, limit=1)
            made = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

            async def call():
                async with made.post(
                    server.url.replace("127.0.0.1", "localhost"), data=b"<a/>", headers=XML
                ) as response:
                    return response.status, dict(response.headers), await response.read()

            return call

        yield session


async def until(true, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def test_list_fetched_in_the_background_ends_a_revoked_caller_on_his_open_connection(
    authority, responder, tmp_path
):
    """503 before anything is known, 200, and after the revocation 403 without SOAP on the same connection, closed."""
    caller = authority.issue("kalder", CVR)
    other = authority.issue("en anden", CVR)
    revocation = watch(authority, tmp_path, lists=[f"{responder}/ca.crl"], every=0.2)
    async with door(authority, revocation) as session:
        call, another = await session(caller), await session(other)
        status, headers, body = await call()
        assert (status, "Retry-After" in headers, b"Envelope" in body) == (503, True, False)
        task = asyncio.create_task(revocation.run())
        await until(lambda: revocation.standing(from_der(caller.der)) is Standing.GOOD)
        assert (await call())[0] == 200
        authority.revoke(caller)
        await until(lambda: revocation.standing(from_der(caller.der)) is Standing.REVOKED)
        status, headers, body = await call()
        assert (status, headers["Connection"], b"Envelope" in body) == (403, "close", False)
        assert (await call())[0] == 403  # and on a new connection
        assert (await another())[0] == 200
        task.cancel()
    state = read_state(tmp_path)["lists"][0]
    assert (state["standing"], state["failure"], state["revoked"] >= 1) == ("current", None, True)


async def test_what_was_fetched_outlives_the_process_and_the_responder(authority, responder, stub, tmp_path):
    """A restart knows what was kept while it counts, though nobody answers; what was revoked stays so after that."""
    bad, good = authority.issue("tilbagekaldt", CVR), authority.issue("gyldig", CVR)
    authority.revoke(bad)
    stub.body = authority.crl_der(valid=DAY)
    first = watch(authority, tmp_path, lists=[stub.url])
    await first.refresh()
    stub.status = 500
    clock = [datetime.now(UTC)]
    second = watch(authority, tmp_path, lists=[stub.url], now=lambda: clock[0])
    await second.refresh()

    assert second.standing(from_der(bad.der)) is Standing.REVOKED
    assert second.standing(from_der(good.der)) is Standing.GOOD
    assert (second.state()["lists"][0]["standing"], second.state()["lists"][0]["failure"]) == ("current", "http_500")
    clock[0] += DAY + timedelta(seconds=1)
    assert second.standing(from_der(bad.der)) is Standing.REVOKED
    assert second.standing(from_der(good.der)) is Standing.UNKNOWN
    assert second.state()["lists"][0]["standing"] == "expired"


def of_issuer(authority, **changes):
    """Sign a list that is wrong in one way."""
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority._certificate.subject)
        .last_update(changes.get("since", now - DAY))
    )
    builder = builder.next_update(changes.get("until", now + DAY))
    for extension, critical in changes.get("extensions", ()):
        builder = builder.add_extension(extension, critical=critical)
    signer = changes.get("signer", authority)
    return builder.sign(signer._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


PARTIAL = x509.IssuingDistributionPoint(
    None, None, False, False, frozenset({x509.ReasonFlags.key_compromise}), False, False
)
WRONG = {
    "malformed": lambda _: b"\x30\x82 no list at all",
    "bad_signature": lambda ca: of_issuer(ca, signer=ca.foreign),
    "unknown_issuer": lambda ca: (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Fremmed")]))
        .last_update(datetime.now(UTC) - DAY)
        .next_update(datetime.now(UTC) + DAY)
        .sign(ca._key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    ),
    "expired": lambda ca: of_issuer(ca, since=datetime.now(UTC) - 2 * DAY, until=datetime.now(UTC) - DAY),
    "not_yet_valid": lambda ca: of_issuer(ca, since=datetime.now(UTC) + DAY, until=datetime.now(UTC) + 2 * DAY),
    "older_than_known": lambda ca: of_issuer(ca, since=datetime.now(UTC) - 300 * DAY, until=datetime.now(UTC) + DAY),
    "partial": lambda ca: of_issuer(ca, since=datetime.now(UTC), extensions=[(PARTIAL, True)]),
    "delta": lambda ca: of_issuer(ca, since=datetime.now(UTC), extensions=[(x509.DeltaCRLIndicator(1), True)]),
    "too_long": lambda _: b"\0" * (32 * 2**20 + 1),
}


@pytest.mark.parametrize("why", WRONG)
async def test_what_proves_nothing_changes_nothing(authority, stub, tmp_path, why):
    """Garbage, another's signature, an old or partial list: named in the state, and what was known stays known."""
    good = from_der((authority.get("gyldig") or authority.issue("gyldig", CVR)).der)
    stub.body = WRONG[why](authority)
    cold = watch(authority, tmp_path / "cold", lists=[stub.url], every=0)
    if why != "older_than_known":
        await cold.refresh()
        assert cold.standing(good) is Standing.UNKNOWN
    stub.body = authority.crl_der(valid=DAY)
    warm = watch(authority, tmp_path / "warm", lists=[stub.url], every=0)
    await warm.refresh()
    stub.body = WRONG[why](authority)
    await warm.refresh()

    state = warm.state()["lists"][0]
    assert (state["failure"], state["standing"]) == ("partial" if why == "delta" else why, "current")
    assert warm.standing(good) is Standing.GOOD
    assert watch(authority, tmp_path / "warm", lists=[stub.url]).standing(good) is Standing.GOOD


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, "http_302"),
        ({"status": 404}, "http_404"),
        ({"delay": 5.0}, "timeout"),
    ],
)
async def test_silence_and_redirects_are_no_answer(authority, stub, tmp_path, said, why):
    stub.body = authority.crl_der()
    for name, value in said.items():
        setattr(stub, name, value)
    cold = watch(authority, tmp_path, lists=[stub.url], patience=0.3)
    await cold.refresh()

    assert (cold.state()["lists"][0]["failure"], cold.state()["lists"][0]["standing"]) == (why, "missing")
    assert stub.asked == 1


async def test_nobody_there_and_one_list_that_never_came_keep_everybody_out(authority, stub, tmp_path):
    """A second list might be of the same issuer: until it has come once nobody is known to be good."""
    good = from_der(authority.issue("gyldig", CVR).der)
    stub.body = authority.crl_der(valid=DAY)
    lists = [stub.url, "http://127.0.0.1:1/other.crl"]
    strict = watch(authority, tmp_path, lists=lists)
    await strict.refresh()

    assert [one["failure"] for one in strict.state()["lists"]] == [None, "unreachable"]
    assert strict.standing(good) is Standing.UNKNOWN
    async with door(authority, watch(authority, tmp_path, lists=lists, admit_unknown=True)) as session:
        assert (await (await session(authority.get("gyldig")))())[0] == 200


async def test_responder_is_asked_where_a_certificate_names_one_that_we_name_too(authority, responder, stub, tmp_path):
    """The first call is told to come again, the next passes; revoked is 403. Another address is never called."""
    place = f"{responder}/ocsp"
    caller = authority.issue("spurgt", CVR, responder=place)
    lured = authority.issue("lokket", CVR, responder=stub.url)
    revocation = watch(authority, tmp_path, responders=[place], every=0.2)
    task = asyncio.create_task(revocation.run())
    async with door(authority, revocation) as session:
        call, lure = await session(caller), await session(lured)
        assert (await call())[0] == 503
        await until(lambda: revocation.standing(from_der(caller.der)) is Standing.GOOD)
        assert (await call())[0] == 200
        assert (await lure())[0] == 503
        authority.revoke(caller)
        await until(lambda: revocation.standing(from_der(caller.der)) is Standing.REVOKED)
        assert (await call())[0] == 403
        await revocation.refresh()
        assert (await lure())[0] == 503
    task.cancel()
    assert stub.asked == 0
    restarted = watch(authority, tmp_path, responders=[place])
    assert restarted.standing(from_der(caller.der)) is Standing.REVOKED


def foreign_answer(authority):
    """Answer as an authority of the same name and other keys."""
    return authority.foreign.ocsp_answer


def of_another(authority):
    issued = authority.issue("en helt anden", CVR)

    def answer(_):
        certificate = x509.load_der_x509_certificate(issued.der)
        return authority.ocsp_answer(
            x509.ocsp.OCSPRequestBuilder()
            .add_certificate(certificate, authority._certificate, hashes.SHA256())
            .build()
            .public_bytes(serialization.Encoding.DER)
        )

    return answer


def replayed(authority):
    """Give the answer to the first question for ever."""
    kept = []

    def answer(question):
        kept.append(authority.ocsp_answer(question))
        return kept[0]

    return answer


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (foreign_answer, "bad_signature"),
        (of_another, "another_certificate"),
        (lambda ca: lambda question: ca.ocsp_answer(question, valid=-DAY), "expired"),
        (lambda _: lambda __: b"no answer at all", "malformed"),
        (lambda _: lambda __: b"\x30\x03\x0a\x01\x06", "responder_refused"),
        (lambda _: lambda __: b"\0" * (64 * 2**10 + 1), "too_long"),
    ],
)
async def test_answer_that_proves_nothing(authority, stub, tmp_path, made, why):
    stub.answer = made(authority)
    caller = from_der(authority.issue("tvivlsom", CVR, responder=stub.url).der)
    asked = watch(authority, tmp_path, responders=[stub.url])
    assert asked.standing(caller) is Standing.UNKNOWN
    await asked.refresh()

    assert asked.standing(caller) is Standing.UNKNOWN
    assert [one["failure"] for one in asked.state()["certificates"]] == [why]


async def test_answer_to_another_question_is_none(authority, stub, tmp_path):
    """A kept answer with another's nonce would hide a revocation that came later."""
    stub.answer = replayed(authority)
    caller = from_der(authority.issue("gentaget", CVR, responder=stub.url).der)
    asked = watch(authority, tmp_path, responders=[stub.url], every=0)
    asked.standing(caller)
    await asked.refresh()
    assert asked.standing(caller) is Standing.GOOD
    await asked.refresh()
    assert asked.state()["certificates"][0]["failure"] == "another_question"


# --- settings and the command ---

BASE = '[listen]\ncertificate = "c"\nkey = "k"\nca = "{ca}"\n[client]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
HEAD = 'part = "gateway"\nvault = "v"\n[database]\ndsn = "d"\nschema = "s"\n'


def settings_file(directory: Path, ca: Path, text: str) -> Path:
    path = directory / "gateway.toml"
    path.write_text(HEAD + BASE.format(ca=ca) + "[revocation]\n" + text)
    return path


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('cache = "c"', "SettingMissing"),
        ('lists = ["http://crl.example/ca.crl"]', "SettingMissing"),
        ('cache = "c"\nlists = ["file:///etc/passwd"]', "SettingWrong"),
        ('cache = "c"\nlists = ["http:///x"]', "SettingWrong"),
        ('cache = "c"\nresponders = ["http://user@host/ocsp"]', "SettingWrong"),
        ('cache = "c"\nlists = ["http://h/x"]\nevery = 0', "SettingWrong"),
        ('cache = "c"\nlists = ["http://h/x"]\nunknown = "maybe"', "SettingWrong"),
    ],
)
def test_wrong_settings_are_refused(authority, tmp_path, text, code):
    with pytest.raises(UsageError) as refused:
        load(settings_file(tmp_path, authority.ca, text))
    assert refused.value.code == code


async def test_the_command_says_how_fresh_everything_is(authority, stub, tmp_path):
    """What the part wrote down at its last round; 1 when something is missing."""
    stub.body = authority.crl_der(valid=DAY)
    path = settings_file(tmp_path, authority.ca, f'cache = "cache"\nlists = ["{stub.url}"]\nevery = 0.001\n')
    line = ["revocation", "--config", str(path)]

    def run(*more):
        return CliRunner().invoke(cli, [*line, *more])

    before = run("--json")
    assert (before.exit_code, json.loads(before.stdout)["error"]["code"]) == (2, "RevocationUnread")
    part = revocation_watch(load(path))
    stub.status = 500
    await part.refresh()
    assert run().exit_code == 1
    stub.status = 200
    await asyncio.sleep(0.01)
    await part.refresh()
    after = run("--json")
    assert (after.exit_code, json.loads(after.stdout)["lists"][0]["standing"]) == (0, "current")
    assert json.loads(after.stdout)["unknown_is"] == "refused"
    assert stub.url in run().stdout
