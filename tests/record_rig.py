# SPDX-License-Identifier: MPL-2.0
"""A record that a real corridor wrote, sealed and anchored, and an operator's settings for the database it lies in."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner
from lxml import etree

from conftest import START
from corridor import SAMPLES, Corridor, another, message
from sygefravaer import audit
from sygefravaer.app import PLATFORM
from sygefravaer.audit import Sealer
from sygefravaer.cli import cli
from sygefravaer.clock import MovableClock
from sygefravaer.store import Store, migrate
from sygefravaer.vault import Vault

EVENT, LOOKUP = "SendHaendelseSygefravaerssag", "HentSagsListe"
CITIZEN, OTHER, ALONE = "0101375001", "0202385002", "0303395003"
USERS = ('=HYPERLINK("http://x")', "Łukasz Żółć\nINFO forged", "sagsbehandler 42")


@dataclass
class Desk:
    """Settings, and the database behind them."""

    directory: Path
    dsn: str
    schema: str

    @property
    def config(self) -> Path:
        return self.directory / "gateway.toml"

    @property
    def anchors(self) -> Path:
        return self.directory / "anchors"

    @property
    def key(self) -> bytes:
        return audit.read_key(self.directory / "audit.key")

    def run(self, *arguments: object, given: str | None = None):
        line = [*map(str, arguments), "--config", str(self.config)]
        return CliRunner().invoke(cli, line, input=given)

    def told(self, *arguments: object, given: str | None = None):
        """Run a command with --json that must succeed."""
        result = self.run(*arguments, "--json", given=given)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def error(self, *arguments: object, given: str | None = None, code: int = 2):
        """Run a command that must fail like this, and give the error's code."""
        result = self.run(*arguments, "--json", given=given)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)["error"]["code"]

    def rows(self, where: str = "true", table: str = "audit") -> list[dict]:
        async def read():
            store = Store(self.dsn, schema=self.schema, size=1)
            await store.open()
            async with store.read() as tx:
                found = [dict(row) for row in await tx.all(f"SELECT * FROM {table} WHERE {where} ORDER BY 1")]
            await store.close()
            return found

        return asyncio.run(read())

    def change(self, *statements: str) -> None:
        async def write():
            store = Store(self.dsn, schema=self.schema, size=1)
            await store.open()
            async with store.tx() as tx:
                for statement in statements:
                    await tx.run(statement)
            await store.close()

        asyncio.run(write())

    def seal(self) -> None:
        async def sealed():
            store = Store(self.dsn, schema=self.schema, size=2)
            await store.open()
            await Sealer(store, key=self.key, anchor=self.anchors).seal()
            await store.close()

        asyncio.run(sealed())


def lookup(cpr: str, user: str | None = None, *, caller: str = "viborg") -> etree._Element:
    """Ask for a citizen's cases on behalf of a user."""
    envelope = message(LOOKUP, caller=caller, CprNummer=cpr)
    if user is not None:
        full = etree.parse(SAMPLES / f"{LOOKUP}Request.max.xml").getroot()
        context = next(full.iter("{*}CallContext"))
        for other in list(context):
            if etree.QName(other).localname != "OnBehalfOfUser":
                context.remove(other)
        context[0].text = user
        request = envelope[-1][0]
        request.insert(0, context)
    return envelope


def event(cpr: str, **fields: object) -> etree._Element:
    """Tell of a citizen's case."""
    envelope = another(message(EVENT, **fields), CprNummer=cpr)
    for number in next(envelope.iter("{*}Sygefravaerssag")).iter("{*}CprNummer"):
        number.text = cpr
    return envelope


async def play(embedded, pki, directory: Path) -> Desk:
    """Play calls of every outcome: look-ups for three citizens by three users, messages, refusals."""
    role = f"record_{secrets.token_hex(4)}"
    dsn = await embedded.create_part(role, secrets.token_hex(8))
    store = Store(dsn, schema=role, size=4)
    await store.open()
    clock = MovableClock(START, running=False)
    await migrate(store, PLATFORM, now=START)
    desk = Desk(directory, dsn, role)
    desk.config.write_text(
        'part = "gateway"\nvault = "keys.json"\n[audit]\nkey = "audit.key"\nanchor = "anchors"\n'
        f'[database]\ndsn = "{dsn}"\nschema = "{role}"\n'
        '[listen]\ncertificate = "c"\nkey = "k"\nca = "a"\n[client]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
    )
    key = audit.create_key(directory / "audit.key")
    audit.sign_with(key)
    sealer = Sealer(store, key=key, anchor=desk.anchors)
    try:
        async with Corridor(store, Vault.create_file(directory / "keys.json"), clock, pki, budget=5) as corridor:
            for user in USERS:
                assert (await corridor.send(LOOKUP, lookup(CITIZEN, user))).status == 200
            assert (await corridor.send(LOOKUP, lookup(CITIZEN, USERS[2]))).status == 200
            assert (await corridor.send(LOOKUP, lookup(OTHER))).status == 200
            assert (await corridor.send(LOOKUP, lookup(ALONE, USERS[2]))).status == 200
            assert (await corridor.send(LOOKUP, lookup(CITIZEN, caller="aarhus"), caller="aarhus")).status == 200
            assert (await corridor.send(EVENT, event(CITIZEN))).kode == "OK"
            assert (await corridor.send(EVENT, event(OTHER))).kode == "OK"
            assert (await corridor.send(LOOKUP, lookup(CITIZEN), caller="stranger")).is_fault
            await sealer.seal()
            await sealer.anchor()
    finally:
        audit.sign_with(None)
        await store.close()
    return desk
