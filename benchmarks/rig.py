# SPDX-License-Identifier: MPL-2.0
"""
A gateway in a process of its own between senders and receivers of this process, so that it can be killed and measured.

The receivers are as plain as a receiver may be: they keep what they applied, in order, in a real database, and answer
a repeat with the receipt they gave before. They judge nothing, so what they hold is what the gateway did.
"""

from __future__ import annotations

import asyncio
import copy
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
from lxml import etree

from sygefravaer import failpoint
from sygefravaer.clock import SystemClock
from sygefravaer.contract.messages import TransportKvitteringType
from sygefravaer.contract.names import NS_FAELLES, NS_KVITTERING, NS_SOAP11, NS_SYGEFRAVAER
from sygefravaer.contract.operations import OPERATIONS, Operation, Service
from sygefravaer.endpoint import Call, Endpoint, Server, server_tls
from sygefravaer.ledger import MIGRATIONS as LEDGER
from sygefravaer.ledger import Ledger
from sygefravaer.sandbox import seed
from sygefravaer.sandbox.parts import GATEWAY, JOBCENTERS, KSD, Layout, toml
from sygefravaer.store import EmbeddedServer, Store, migrate
from sygefravaer.vault import Vault

SAMPLES = Path(__file__).parents[1] / "tests" / "samples"
SENDS = tuple(name for name, operation in OPERATIONS.items() if not operation.lookup)
APPLIED = (
    """
    CREATE TABLE applied (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        operation text NOT NULL,
        besked_id uuid NOT NULL,
        lane text NOT NULL
    )
    """,
)
LEASE = 2.5  # seconds until what a killed gateway held goes on; 60 in production
_F = f"{{{NS_FAELLES}}}"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one attempt to send came to: a transport code with its FejlKoder, or nothing."""

    code: str | None
    remarks: tuple[str, ...] = ()
    raw: bytes = b""

    @property
    def final(self) -> bool:
        """A receipt that will not change."""
        return self.code is not None and "G006" not in self.remarks


def message(operation: str, *, besked_id: UUID, lane: UUID, sender: UUID, now: datetime | None = None) -> bytes:
    """Write a request from its minimal sample: own BeskedID and time, one NemrefusionsID per lane."""
    envelope = etree.parse(SAMPLES / f"{operation}Request.min.xml").getroot()
    when = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    hoved = next(envelope.iter(f"{_F}Hoved"))
    values = {"BeskedID": besked_id, "AfsenderSystemID": sender, "Afsendelsestidspunkt": when}
    for name, value in values.items():
        hoved.find(_F + name).text = str(value)
    nemrefusion = hoved.find(f"{_F}NemrefusionsID")
    if nemrefusion is None:
        nemrefusion = etree.SubElement(hoved, f"{_F}NemrefusionsID")
    for found in [nemrefusion, *envelope.iter(f"{_F}NemrefusionsID")]:
        found.text = str(lane)
    for found in envelope.iter(f"{{{NS_SYGEFRAVAER}}}OpdateringID"):
        found.text = str(uuid4())
    return etree.tostring(envelope, xml_declaration=True, encoding="UTF-8")


def read(body: bytes) -> Told:
    """Read a receipt out of a response or a fault; nothing of the product has a hand in it."""
    try:
        root = etree.fromstring(body)
    except etree.XMLSyntaxError:
        return Told(code=None)
    if root.tag != f"{{{NS_SOAP11}}}Envelope":
        return Told(code=None)
    code = root.find(f".//{{{NS_KVITTERING}}}TransportValideringsKode")
    if code is None:
        return Told(code=None)
    remarks = tuple(found.text or "" for found in root.iter(f"{{{NS_KVITTERING}}}FejlKode"))
    receipt = copy.deepcopy(code.getparent())
    receipt.tail = None
    return Told(code=code.text, remarks=remarks, raw=etree.tostring(receipt, method="c14n", exclusive=True))


class Rig:
    """Database, certificates, receivers, and the gateway's process."""

    viborg = JOBCENTERS[0].system_id

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory / "rig")
        self.server = EmbeddedServer(directory / "pg")
        self.pause = 0.0
        self.environment: dict[str, str] = {}  # of the gateway, besides that of this process
        self._stack = AsyncExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self.port = _free_port()

    async def __aenter__(self):
        self.layout.directory.mkdir(parents=True)
        self.layout.make()
        await self.server.start()
        self._stack.push_async_callback(self.server.remove)
        self.pki, self.certificates = seed.certificates(self.layout)
        self.dsn = await self.server.create_part(GATEWAY.schema, secrets.token_hex(8))
        receiver_dsn = await self.server.create_part("receiver", secrets.token_hex(8))
        self.received = Store(receiver_dsn, schema="receiver", size=16)
        await self.received.open()
        self._stack.push_async_callback(self.received.close)
        await migrate(self.received, [("ledger", LEDGER), ("rig", APPLIED)], now=datetime.now(UTC))
        self.vault = Vault.create_file(self.layout.vault("receiver"))
        Vault.create_file(self.layout.vault(GATEWAY.schema))
        clock = SystemClock()
        self._ledger = Ledger(self.received, self.vault, clock)
        self.urls = {}
        receivers = ((KSD, Service.SYGEFRAVAER), *((jobcenter, Service.SYGEFRAVAER_JC) for jobcenter in JOBCENTERS))
        for spec, service in receivers:
            issued = self.certificates.systems[spec.name]
            tls = server_tls(issued.certificate, issued.key, self.pki.ca)
            server = Server(Endpoint(service, self._handlers(service), clock=clock), tls=tls)
            await server.start()
            self._stack.push_async_callback(server.stop)
            self.urls[spec.name] = f"https://localhost:{server.port}"
        await self._lay()
        await seed.register(self.dsn, self.certificates, self.urls)
        self.layout.config("gateway").write_text(toml(self._settings()), encoding="utf-8")
        self._stack.push_async_callback(self._close_sessions)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_gateway()
        await self._stack.aclose()

    # --- what another rig may have otherwise ---

    def _handlers(self, service: Service) -> dict:
        """Say what a receiver of this service does with each operation."""
        return {name: self._apply for name, row in OPERATIONS.items() if row.service is service and not row.lookup}

    async def _lay(self) -> None:
        """Put something between the parts, before their addresses are registered."""

    def _settings(self) -> dict:
        """Give the settings of the gateway."""
        own = self.certificates.platform
        return {
            "part": "gateway",
            "vault": self.layout.vault(GATEWAY.schema),
            "listen": {
                "host": "127.0.0.1",
                "port": self.port,
                "certificate": own.certificate,
                "key": own.key,
                "ca": self.pki.ca,
                "crl": self.pki.crl,
            },
            "database": {"dsn": self.dsn, "schema": GATEWAY.schema},
            "delivery": {"timeout": 2.0, "lease": LEASE},
            "client": {"certificate": own.certificate, "key": own.key, "ca": self.pki.ca},
        }

    # --- the gateway ---

    async def start_gateway(self, fuse: str | None = None) -> None:
        """Start the gateway's process and wait until it takes connections."""
        environment = {key: value for key, value in os.environ.items() if key != failpoint.VARIABLE} | self.environment
        if fuse is not None:
            environment[failpoint.VARIABLE] = fuse
        with self.layout.log("gateway").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sygefravaer", "serve", "gateway", "--config", self.layout.config("gateway")],
                env=environment,
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            if self._process.poll() is not None:
                raise AssertionError(f"the gateway ended: {self.layout.log('gateway').read_text()[-2000:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("the gateway did not come up")

    def kill_gateway(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    async def stop_gateway(self) -> int | None:
        """SIGTERM; give the exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 20)

    async def gateway_dies(self, within: float = 30.0) -> int:
        """Wait for the end that a failpoint makes; give the exit code."""
        return await asyncio.wait_for(asyncio.to_thread(self._process.wait), within)

    # --- sending and receiving ---

    def sender(self, operation: Operation) -> tuple[str, UUID]:
        """Say who sends this operation: KSD, or Viborg's jobcentre."""
        spec = KSD if operation.service is Service.SYGEFRAVAER_JC else JOBCENTERS[0]
        return spec.name, spec.system_id

    async def send(self, operation: Operation, body: bytes) -> Told:
        """Post once; whatever goes wrong on the way is an unknown outcome."""
        name, _ = self.sender(operation)
        url = f"https://localhost:{self.port}{operation.service.path}"
        try:
            async with self._session(name).post(url, data=body, headers={"Content-Type": "text/xml"}) as answer:
                return read(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError):
            return Told(code=None)

    async def applied(self, operation: str) -> list[tuple[UUID, str]]:
        """Give what the receivers applied of an operation: BeskedID and lane, in the order it was applied."""
        async with self.received.read() as tx:
            rows = await tx.all(
                "SELECT besked_id, lane FROM applied WHERE operation = %(operation)s ORDER BY seq", operation=operation
            )
        return [(row["besked_id"], row["lane"]) for row in rows]

    async def accepted(self, operation: str) -> list[tuple[UUID, str]]:
        """Give what the gateway holds of an operation: BeskedID and status, in the order it was accepted."""
        store = Store(self.dsn, schema=GATEWAY.schema, size=1)
        await store.open()
        try:
            async with store.read() as tx:
                rows = await tx.all(
                    "SELECT besked_id, status FROM message WHERE operation = %(operation)s ORDER BY message_id",
                    operation=operation,
                )
        finally:
            await store.close()
        return [(row["besked_id"], row["status"]) for row in rows]

    async def _apply(self, call: Call) -> bytes:
        async def apply(tx) -> TransportKvitteringType:
            await tx.run(
                "INSERT INTO applied (operation, besked_id, lane) VALUES (%(operation)s, %(besked_id)s, %(lane)s)",
                operation=call.operation.name,
                besked_id=call.besked_id,
                lane=str(call.message.Hoved.NemrefusionsID),
            )
            return TransportKvitteringType(TransportValideringsKode="OK")

        await asyncio.sleep(self.pause)
        return await self._ledger.once(call, apply)

    def _session(self, name: str) -> aiohttp.ClientSession:
        if name not in self._sessions:
            issued = self.certificates.systems[name]
            context = ssl.create_default_context(cafile=str(self.pki.ca))
            context.load_cert_chain(issued.certificate, issued.key)
            self._sessions[name] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=200), timeout=aiohttp.ClientTimeout(total=30)
            )
        return self._sessions[name]

    async def _close_sessions(self) -> None:
        for session in self._sessions.values():
            await session.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
