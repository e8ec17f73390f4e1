# SPDX-License-Identifier: MPL-2.0
"""The gateway as it is started from its settings: it learns who is revoked, sends mail, and stops though a server hangs."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

from sygefravaer import app, audit
from sygefravaer.config import load
from sygefravaer.contract.names import PATHS
from sygefravaer.mail import FACTS, Kind, Status, advise, letters
from sygefravaer.sandbox import responder
from sygefravaer.sandbox.pki import Pki
from sygefravaer.store import Store
from sygefravaer.vault import Vault

CVR = "29189846"


async def test_gateway_refuses_the_revoked_and_stops_while_its_mail_server_hangs(embedded, tmp_path):
    pki = await asyncio.to_thread(Pki(tmp_path / "pki").create)
    own, caller = pki.issue("gateway", CVR), pki.issue("kalder", CVR)
    await embedded.create_part("watched", "x")
    Vault.create_file(tmp_path / "keys.json")
    audit.create_key(tmp_path / "audit.key")
    lists = web.AppRunner(responder.application(pki))
    await lists.setup()
    await web.TCPSite(lists, "127.0.0.1", 0).start()
    greeted, over, held = asyncio.Event(), asyncio.Event(), []

    async def hang(_, writer):
        held.append(writer)
        greeted.set()
        await over.wait()

    hanging = await asyncio.start_server(hang, "127.0.0.1", 0)
    dsn = embedded.dsn("watched", "x")
    path = tmp_path / "gateway.toml"
    path.write_text(
        f"""
part = "gateway"
vault = "keys.json"
[database]
dsn = "{dsn}"
schema = "watched"
pool = 2
[listen]
certificate = "{own.certificate}"
key = "{own.key}"
ca = "{pki.ca}"
[client]
certificate = "{own.certificate}"
key = "{own.key}"
ca = "{pki.ca}"
[audit]
key = "audit.key"
anchor = "anchors"
[revocation]
cache = "revocation"
lists = ["http://127.0.0.1:{lists.addresses[0][1]}/ca.crl"]
every = 0.2
[mail]
host = "127.0.0.1"
port = {hanging.sockets[0].getsockname()[1]}
sender = "advis@platform.example"
every = 0.1
timeout = 60
"""
    )
    part = app.build(load(path))
    await part.start()
    try:
        context = ssl.create_default_context(cafile=pki.ca)
        context.load_cert_chain(caller.certificate, caller.key)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

            async def until(wanted):
                async with asyncio.timeout(20):
                    while True:
                        async with session.get(f"https://localhost:{part.port}{PATHS['Sygefravaer']}?wsdl") as told:
                            if told.status == wanted:
                                return
                        await asyncio.sleep(0.05)

            await until(200)
            pki.revoke(caller)
            await until(403)
        store = Store(dsn, schema="watched", size=1)
        await store.open()
        async with store.tx() as tx:
            facts = dict.fromkeys(FACTS[Kind.LIMIT_REACHED], "x")
            await advise(tx, Kind.LIMIT_REACHED, "a@b.example", facts, now=datetime.now(UTC))
        async with asyncio.timeout(20):
            await greeted.wait()
    finally:
        begun = time.monotonic()
        await part.stop()
    assert time.monotonic() - begun < app.STOP_SECONDS
    async with store.read() as tx:
        (letter,) = await letters(tx)
    assert (letter.status, letter.attempts) == (Status.QUEUED, 1)  # another postman takes it after a while
    await store.close()
    over.set()
    for writer in held:
        writer.close()
        await writer.wait_closed()
    hanging.close()
    await hanging.wait_closed()
    await lists.cleanup()
