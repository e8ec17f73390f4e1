# SPDX-License-Identifier: MPL-2.0
"""
A receiver in a process of its own: the real endpoint and ledger, and one row for each message that it applied.

    python -m benchmarks.receiver JOB.json

The job names service, certificate, key, ca, dsn, schema, vault, port and kind. A `silent` receiver takes connections
and requests and answers nothing, as a system does that hangs. A `quick` one answers OK without looking: it costs as
little as the load generator, for what is to be told of the platform alone. Prints its port when it listens; SIGTERM
ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import uvloop

from benchmarks.load import LENGTH
from benchmarks.stand import TO_KSD
from sygefravaer import soap
from sygefravaer.clock import SystemClock
from sygefravaer.contract import codec
from sygefravaer.contract.messages import SygefravaerResponse, TransportKvitteringType
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.endpoint import Call, Endpoint, Server, server_tls
from sygefravaer.ledger import MIGRATIONS as LEDGER
from sygefravaer.ledger import Ledger
from sygefravaer.store import Store, migrate
from sygefravaer.vault import Vault

APPLIED = (
    """
    CREATE TABLE applied (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        sender uuid NOT NULL,
        besked_id uuid NOT NULL,
        at timestamptz NOT NULL
    )
    """,
)
CONNECTIONS = 8
_INSERT = "INSERT INTO applied (sender, besked_id, at) VALUES (%(sender)s, %(besked_id)s, %(at)s)"


async def run(job: dict) -> None:
    """Receive until told to end."""
    tls = server_tls(Path(job["certificate"]), Path(job["key"]), Path(job["ca"]))
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    if job["kind"] != "real":
        listening = (
            asyncio.start_server(_say_nothing, "127.0.0.1", job["port"], ssl=tls)
            if job["kind"] == "silent"
            else asyncio.get_running_loop().create_server(_Quick, "127.0.0.1", job["port"], ssl=tls)
        )
        async with await listening:
            print(job["port"], flush=True)
            await end.wait()
        return
    clock = SystemClock()
    store = Store(job["dsn"], schema=job["schema"], size=CONNECTIONS)
    await store.open()
    await migrate(store, [("ledger", LEDGER), ("receiver", APPLIED)], now=datetime.now(UTC))
    ledger = Ledger(store, Vault.from_file(Path(job["vault"])), clock)

    async def receive(call: Call) -> bytes:
        async def apply(tx) -> TransportKvitteringType:
            await tx.run(_INSERT, sender=call.sender, besked_id=call.besked_id, at=datetime.now(UTC))
            return TransportKvitteringType(TransportValideringsKode="OK")

        return await ledger.once(call, apply)

    service = Service[job["service"]]
    handlers = {name: receive for name, row in OPERATIONS.items() if row.service is service and not row.lookup}
    server = Server(Endpoint(service, handlers, clock=clock), tls=tls, port=job["port"])
    await server.start()
    print(server.port, flush=True)
    await end.wait()
    await server.stop()
    await store.close()


class _Quick(asyncio.Protocol):
    """Answers each request with the same receipt as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._come = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._come += data
        while (end := self._come.find(b"\r\n\r\n") + 4) >= 4:
            whole = end + int(LENGTH.search(self._come, 0, end)[1])
            if len(self._come) < whole:
                return
            self._come = self._come[whole:]
            self._transport.write(_ok())


@cache
def _ok() -> bytes:
    """Write the answer: the response elements of all sends differ in nothing that is looked at but their name."""
    reply = SygefravaerResponse(TransportKvittering=TransportKvitteringType(TransportValideringsKode="OK"))
    body = soap.wrap(codec.encode_reply(OPERATIONS[TO_KSD], reply))
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/xml;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while await reader.read(65536):
            pass
    writer.transport.abort()


if __name__ == "__main__":
    uvloop.run(run(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
