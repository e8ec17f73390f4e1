# SPDX-License-Identifier: MPL-2.0
"""
A receiving system in a process of its own: the product's endpoint and ledger, and a table of what was applied, in order.

It judges nothing, so what it holds is what the gateway did. How it answers is asked for by the last byte of a BeskedID:
most messages are taken at once, some slowly, some are refused, and some cannot be read.
"""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.rig import SAMPLES
from lxml import etree

from sygefravaer import failpoint, soap
from sygefravaer.app import end_with_parent
from sygefravaer.clock import SystemClock
from sygefravaer.contract.messages import TransportKvitteringType
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.endpoint import Call, Endpoint, Server, server_tls
from sygefravaer.errors import Refused, StoreError, Unreadable
from sygefravaer.ledger import Ledger
from sygefravaer.store import Store
from sygefravaer.telemetry import start_logging
from sygefravaer.vault import Vault

SLOW, REFUSED, UNREADABLE = 0xCC, 0xEE, 0xDD  # the last byte of a BeskedID
SLOWLY = 0.35  # seconds
TABLES = (
    """
    CREATE TABLE applied (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        besked_id uuid NOT NULL,
        sender uuid NOT NULL,
        operation text NOT NULL,
        municipality text NOT NULL,
        lane text NOT NULL
    );
    CREATE TABLE asked (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        besked_id uuid NOT NULL,
        operation text NOT NULL,
        municipality text NOT NULL
    )
    """,
)


def asks_for(besked_id: UUID) -> int:
    """Give the byte by which a message asks how it is to be taken."""
    return besked_id.int & 0xFF


async def opened(dsn: str, schema: str, *, size: int = 6) -> Store:
    """Open a store, also while the database is still away."""
    while True:
        store = Store(dsn, schema=schema, size=size)
        try:
            await store.open(timeout=2.0)
        except StoreError:
            await store.close()
            await asyncio.sleep(0.1)
        else:
            return store


class Receiver:
    """One receiving system."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._pause = settings["pause"]
        self._clock = clock = SystemClock()
        self._vault = Vault.from_file(Path(settings["vault"]))
        service = Service(settings["service"])
        handlers = {
            name: self._look_up if row.lookup else self._apply
            for name, row in OPERATIONS.items()
            if row.service is service
        }
        tls = server_tls(Path(settings["certificate"]), Path(settings["key"]), Path(settings["ca"]))
        self._server = Server(Endpoint(service, handlers, clock=clock), port=settings["port"], tls=tls, grace=0.2)

    async def run(self) -> None:
        """Serve until SIGTERM."""
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
        self._store = await opened(self._settings["dsn"], self._settings["schema"])
        self._ledger = Ledger(self._store, self._vault, self._clock)
        await self._server.start()
        await asked.wait()
        await self._server.stop()
        await self._store.close()

    async def _apply(self, call: Call) -> bytes:
        how = asks_for(call.besked_id)

        async def apply(tx) -> TransportKvitteringType:
            if how == REFUSED:
                raise Refused("O401", "Hoved/NemrefusionsID")
            await tx.run(
                "INSERT INTO applied (besked_id, sender, operation, municipality, lane)"
                " VALUES (%(besked_id)s, %(sender)s, %(operation)s, %(municipality)s, %(lane)s)",
                besked_id=call.besked_id,
                sender=call.sender,
                operation=call.operation.name,
                municipality=call.message.Hoved.ModtagerMyndighedCVR,
                lane=str(call.message.Hoved.NemrefusionsID),
            )
            return TransportKvitteringType(TransportValideringsKode="OK")

        if how == UNREADABLE:
            raise Unreadable
        await asyncio.sleep(SLOWLY if how == SLOW else self._pause)
        return await self._ledger.once(call, apply)

    async def _look_up(self, call: Call) -> bytes:
        async with self._store.read() as tx:
            await tx.run(
                "INSERT INTO asked (besked_id, operation, municipality)"
                " VALUES (%(besked_id)s, %(operation)s, %(municipality)s)",
                besked_id=call.besked_id,
                operation=call.operation.name,
                municipality=call.message.Hoved.ModtagerMyndighedCVR,
            )
        envelope = etree.parse(SAMPLES / f"{call.operation.reply_name}.min.xml").getroot()
        return soap.element_bytes(envelope[-1][0])


def main(config: Path) -> None:
    """Be the receiver that the file describes."""
    start_logging()
    failpoint.arm()
    end_with_parent()
    settings = json.loads(config.read_text("utf-8"))

    async def run() -> None:
        await Receiver(settings).run()

    asyncio.run(run())
