# SPDX-License-Identifier: MPL-2.0
"""
Nobody's number lies in the clear: not in logs, status or faults, not in a table, in the WAL or in a backup.

All parts play on a stage with a database of its own: many citizens, both directions, look-ups, refusals, malformed
calls, a parked message. Each place is then searched for every number of the run, plain, with a hyphen, in base64 at
every alignment, percent-coded, and as hexadecimal digits (as a dump shows bytes). One more number is planted in each
place, in each of these forms, and must be found there: a search that finds nothing proves nothing by itself.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import secrets
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import psycopg
import pytest
from lxml import etree

from conftest import START
from corridor import AARHUS, VIBORG, message, put
from record_rig import lookup
from sygefravaer.client import client_tls
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.sandbox.stage import Stage
from sygefravaer.store import EmbeddedServer
from sygefravaer.telemetry import JsonLines

CITIZENS = 24
ENDING = f"416{secrets.randbelow(1000):03}"
"""What all numbers of the run end with, so that one search finds candidates for all; no other run has the same."""

NUMBERS = [f"{day:02}{month:02}{ENDING}" for month in (1, 4, 9, 11) for day in range(2, 2 + CITIZENS // 4)]
STRANGER, PLANTED = f"1512{ENDING}", f"2112{ENDING}"


def forms(number: str) -> dict[str, bytes]:
    """Write a number, or the end of one, in every way in which it could lie somewhere."""
    hyphened = f"{number[:-4]}-{number[-4:]}"
    made = {
        "plain": number.encode(),
        "hyphen": hyphened.encode(),
        "percent": "".join(f"%{ord(letter):02X}" for letter in number).encode(),
        "percent hyphen": quote(hyphened).replace("-", "%2D").encode(),
        "hex": number.encode().hex().encode(),
        "hex hyphen": hyphened.encode().hex().encode(),
    }
    for text in (number, hyphened):
        for before in range(3):
            coded = base64.b64encode(b"\0" * before + text.encode())
            whole = coded[-(-before * 8 // 6) : (before + len(text)) * 8 // 6]
            made[f"base64 {len(text)} at {before}"] = whole
    return made


CANDIDATES = set(forms(ENDING).values())


def found(data: bytes, numbers: list[str]) -> set[str]:
    """Say in which forms any of these numbers, all with one ending, stands in some bytes."""
    wanted = {(name, form) for number in numbers for name, form in forms(number).items()}
    seen = set()
    for candidate in CANDIDATES:
        at = data.find(candidate)
        while at >= 0:
            near = data[max(0, at - 64) : at + 64]
            seen |= {name for name, form in wanted if form in near}
            at = data.find(candidate, at + 1)
    return seen


class Run:
    """The stage, and everything that was said to whoever asked."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.faults: list[bytes] = []
        self.told: list[str] = []
        self.statuses: list[int] = []

    async def act(self, part: str, name: str, **fields):
        """Ask a part at its door; what it says of itself is kept."""
        answer = await self.stage.act(part, name, **fields)
        self.told.append(json.dumps(answer, ensure_ascii=False))
        return answer

    async def call(self, part: str, operation: str, body: etree._Element | bytes, path: str = "", **headers) -> None:
        """Call the gateway as a part; what is no answer to a look-up is kept."""
        config, gateway = self.stage.config(part), self.stage.config("gateway")
        tls = client_tls(config.client.certificate, config.client.key, config.client.ca)
        url = f"https://localhost:{gateway.listen.port}{path or OPERATIONS[operation].service.path}"
        data = body if isinstance(body, bytes) else etree.tostring(body, encoding="UTF-8")
        sent = {"Content-Type": "text/xml; charset=utf-8"} | headers
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), trust_env=False) as session,
            session.post(url, data=data, headers=sent) as response,
        ):
            text = await response.read()
            self.statuses.append(response.status)
            if response.status != 200:
                self.faults.append(text + json.dumps(dict(response.headers)).encode())

    def envelope(self, part: str, operation: str, number: str, **fields) -> etree._Element:
        """Make a message of a part about a citizen, as of now."""
        made = lookup(number, "sagsbehandler 7") if operation == "HentSagsListe" else message(operation)
        cvr, kode = (AARHUS, "0751") if part == "aarhus" else (VIBORG, "0791")
        given = {
            "CprNummer": number,
            "AfsenderSystemID": self.stage.config(part).system_id,
            "Afsendelsestidspunkt": self.stage.now.isoformat(),
            "AfsenderMyndighedCVR": cvr,
            "ModtagerMyndighedCVR": cvr,
            "Kommunekode": kode,
        } | fields
        for name, value in given.items():
            put(next(made.iter("{*}Hoved")), name, value)
        for place in made.iter("{*}MunicipalityCVR"):
            place.text = cvr
        return made


def case(number: str, nth: int) -> dict:
    """Make a running case of a citizen."""
    return {
        "cpr": number,
        "municipality_cvr": (VIBORG, AARHUS)[nth % 2],
        "sags_id": str(uuid4()),
        "nemrefusions_id": str(uuid4()),
        "state": "LOEBENDE",
        "FoersteFravaersdag": "2025-11-10",
        "RevurderingsDato": "2026-04-30",
    }


async def play(run: Run) -> None:
    """Let everything happen that can happen to a number."""
    stage = run.stage
    cases = [case(number, nth) for nth, number in enumerate(NUMBERS[:-2])]
    await run.act("ksd", "seed", cases=cases)
    await stage.settle()
    for one in cases[:4]:
        await run.act("ksd", "ask_extension", sags_id=one["sags_id"])
    await stage.advance(timedelta(days=3))

    for one, number in zip(cases[:6], NUMBERS, strict=False):
        part = "viborg" if one["municipality_cvr"] == VIBORG else "aarhus"
        await run.call(part, "HentSagsListe", run.envelope(part, "HentSagsListe", number))
    await run.call(
        "viborg",
        "HentSag",
        run.envelope("viborg", "HentSag", NUMBERS[0], NemrefusionsID=cases[0]["nemrefusions_id"]),
    )
    await run.call("viborg", "SendOpdateringFravaer", run.envelope("viborg", "SendOpdateringFravaer", NUMBERS[0]))
    await run.call("aarhus", "HentSagsListe", run.envelope("aarhus", "HentSagsListe", NUMBERS[0]))  # another's citizen

    # Refused, and malformed: the number where it belongs, and where it does not.
    good = run.envelope("viborg", "HentSagsListe", STRANGER)
    await run.call("viborg", "HentSagsListe", run.envelope("viborg", "HentSagsListe", STRANGER, Kommunekode="0751"))
    await run.call("viborg", "HentSagsListe", run.envelope("viborg", "HentSagsListe", STRANGER, Kommunekode=STRANGER))
    await run.call("viborg", "HentSagsListe", run.envelope("viborg", "HentSagsListe", f"{STRANGER}0"))
    await run.call("viborg", "HentSagsListe", run.envelope("viborg", "HentSagsListe", STRANGER, BeskedID=STRANGER))
    await run.call("aarhus", "HentSagsListe", good)  # another's system in the header
    await run.call("viborg", "HentSagsListe", etree.tostring(good)[:-20])
    await run.call("viborg", "HentSagsListe", f"<{'a' * 9}{STRANGER}/>".encode())
    await run.call("viborg", "HentSagsListe", good, path=f"/cpr/{STRANGER}?CprNummer={STRANGER}")
    await run.call("viborg", "HentSagsListe", etree.tostring(good), **{"Content-Type": f"text/{STRANGER}"})
    await run.call("viborg", "HentSagsListe", good, SOAPAction=f'"{STRANGER}"', **{"User-Agent": STRANGER})
    named = run.envelope("viborg", "HentSagsListe", STRANGER)
    next(named.iter("{*}OnBehalfOfUser")).text = f"bruger {STRANGER}"
    await run.call("viborg", "HentSagsListe", named)

    # KSD answers with a Client fault, or not at all; a jobcentre is away until its message is parked.
    await stage.stop("viborg")
    await run.act("ksd", "seed", cases=[case(NUMBERS[-2], 0)])
    await stage.advance(timedelta(days=7))
    assert (await run.act("gateway", "due"))["parked"] >= 1
    await stage.start("viborg")
    await stage.stop("ksd")
    await run.call("aarhus", "HentSagsListe", run.envelope("aarhus", "HentSagsListe", NUMBERS[-1]))
    await stage.start("ksd")
    for part, acts in (("gateway", ("health", "due", "accepted", "obligations")), ("ksd", ("health", "due"))):
        for name in acts:
            await run.act(part, name)
    await run.act("viborg", "health")


def dump(server: EmbeddedServer) -> bytes:
    """Give every table of every schema as COPY writes it."""
    out = io.BytesIO()
    with psycopg.connect(server.superuser_dsn()) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f"COPY {table} TO STDOUT") as rows:
                for piece in rows:
                    out.write(piece)
    assert len(tables) > 30
    return out.getvalue()


def files(directory) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def backup(server: EmbeddedServer, directory) -> bytes:
    """Take a backup as an operator does, with the WAL that belongs to it."""
    with (server._home / "data" / "pg_hba.conf").open("a") as access:
        access.write("local replication all scram-sha-256\n")
    with psycopg.connect(server.superuser_dsn()) as connection:
        connection.execute("SELECT pg_reload_conf()")
    command = [server.binaries / "pg_basebackup", "-d", server.superuser_dsn(), "-D", directory, "-c", "fast"]
    subprocess.run(command, check=True, capture_output=True)
    return files(directory)


@contextlib.contextmanager
def log_lines():
    """Write down every line that any part logs, as it would, from the least important level on."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonLines())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def plant(run: Run, server: EmbeddedServer) -> None:
    """Put one number into every place, in every form."""
    planted = {name: form.decode() for name, form in forms(PLANTED).items()}
    logging.getLogger("planted").warning("planted", extra=planted)
    run.told.append(json.dumps(planted))
    run.faults.append(json.dumps(planted).encode())
    with psycopg.connect(server.superuser_dsn()) as connection:
        schema = connection.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'audit'").fetchall()[0][0]
        connection.execute(f"CREATE TABLE {schema}.planted (form text, bytes bytea)")
        for form in planted.values():
            connection.execute(f"INSERT INTO {schema}.planted VALUES (%s, %s)", [form, form.encode()])


@pytest.mark.long
async def test_no_number_lies_anywhere_in_the_clear(pki, tmp_path):
    """Every place holds the planted number in every form, so it was searched; and none of those of the run."""
    server = EmbeddedServer(tmp_path / "database", state=Path(tempfile.gettempdir()))
    await server.start()
    try:
        with log_lines() as lines:
            async with Stage(START, server=server, pki=pki) as stage:
                run = Run(stage)
                await play(run)
                plant(run, server)
                places = {
                    "logs": lines.getvalue().encode(),
                    "status": "\n".join(run.told).encode(),
                    "faults": b"\n".join(run.faults),
                    "tables": dump(server),
                    "WAL": files(server._home / "data" / "pg_wal"),
                    "backup": backup(server, tmp_path / "backup"),
                    "database's log": b"",
                }
                places["database's log"] = (server._home / "log").read_bytes()
    finally:
        await server.remove()

    assert len(run.faults) > 10
    assert run.statuses.count(200) >= 8
    missed = {place: set(forms(PLANTED)) - found(data, [PLANTED]) for place, data in places.items()}
    assert missed.pop("database's log")  # nobody plants there
    assert {place: forms for place, forms in missed.items() if forms} == {}
    leaked = {place: found(data, [*NUMBERS, STRANGER]) for place, data in places.items()}
    assert {place: forms for place, forms in leaked.items() if forms} == {}


def test_the_search_knows_every_form_and_mistakes_none():
    """A number is found inside others' bytes at any place; another one with the same ending is not it."""
    for name, form in forms(PLANTED).items():
        assert name in found(b"x" * 1000 + form + b"y" * 1000, [PLANTED])
        assert found(b"x" + form + b"y", NUMBERS) == set()
    for before in range(6):
        coded = base64.b64encode(b"q" * before + PLANTED.encode() + b"<more/>")
        assert any(name.startswith("base64") for name in found(coded, [PLANTED]))
    assert found(secrets.token_bytes(1_000_000), NUMBERS) == set()
