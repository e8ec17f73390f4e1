# SPDX-License-Identifier: MPL-2.0
"""A party that sends, in a process of its own: the product's lanes, pump and client, on messages that are put there."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from ordeal.receiver import opened
from sygefravaer import failpoint, soap
from sygefravaer.app import end_with_parent
from sygefravaer.client import Client, Kind, classify, client_tls
from sygefravaer.clock import SystemClock
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.errors import CallFailed
from sygefravaer.lanes import Entry, Lanes, Pump, Schedule, Status, Stored, Verdict
from sygefravaer.store import Tx
from sygefravaer.telemetry import start_logging
from sygefravaer.vault import Vault

BODY = "outbox"
GATEWAY = UUID(int=1)  # what stands for the receiver in a party's own lanes
REPEATS = (timedelta(seconds=0.3), timedelta(seconds=0.8))  # instead of the contract's minutes
CEILING = 2  # seconds between attempts at most, instead of three hours
STATUS = {
    Kind.OK: Status.DELIVERED,
    Kind.ADVARSEL: Status.DELIVERED,
    Kind.UNDER_WAY: Status.UNDER_WAY,
    Kind.FEJL: Status.REFUSED,
    Kind.CLIENT_FAULT: Status.REFUSED,
    Kind.SILENCE: Status.QUEUED,
}


async def put(tx: Tx, vault: Vault, body: bytes, *, lane: UUID, besked_id: UUID, sender: UUID, now: datetime) -> None:
    """Put a finished message in its lane, as a party does in the transaction of what caused it."""
    element = soap.read(body).element
    name = element.tag.rpartition("}")[2].removesuffix("Request")
    await Lanes().enqueue(
        tx,
        Entry(
            recipient=GATEWAY,
            municipality_cvr="",
            case_key=str(lane),
            sender=sender,
            besked_id=besked_id,
            operation=name,
            nemrefusions_id=lane,
            cpr_key=b"",
            digest=soap.digest(element),
            body=vault.seal(soap.element_bytes(element), context=BODY),
            accepted_at=now,
        ),
    )


def main(config: Path) -> None:
    """Be the party that the file describes."""
    start_logging()
    failpoint.arm()
    end_with_parent()
    asyncio.run(_run(json.loads(config.read_text("utf-8"))))


async def _run(settings: dict[str, Any]) -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    store = await opened(settings["dsn"], settings["schema"], size=4)
    vault = Vault.from_file(Path(settings["vault"]))
    tls = client_tls(Path(settings["certificate"]), Path(settings["key"]), Path(settings["ca"]))
    service = OPERATIONS[settings["operation"]].service
    client = Client(settings["url"] + service.path, service=service, tls=tls, timeout=settings["timeout"])

    async def deliver(message: Stored) -> Verdict:
        try:
            answer = await client.post(vault.open(message.body, context=BODY), OPERATIONS[message.operation])
            outcome = classify(answer)
        except CallFailed as error:
            outcome = classify(error)
        return Verdict(status=STATUS[outcome.kind], detail=outcome.detail)

    lanes = Lanes(schedule=Schedule(ceiling=CEILING, repeats=REPEATS), lease=timedelta(seconds=settings["lease"]))
    pump = Pump(store, lanes, deliver, clock=SystemClock(), poll=0.2)
    pumping = asyncio.create_task(pump.run())
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", settings["port"])
    await asked.wait()
    server.close()
    pump.stop()
    await pumping
    await client.close()
    await store.close()
