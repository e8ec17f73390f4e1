# SPDX-License-Identifier: MPL-2.0
"""
The house in which the trials take place: one PostgreSQL, several gateway nodes on it, and three receiving systems.

Every node and receiver is a process of its own that can be killed and stopped; each comes back at its own port. The
house stays up over many trials: what one leaves behind is told from the next by its lanes, which are new.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import secrets
import signal
import socket
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

import aiohttp
from benchmarks.rig import Told, message, read

from ordeal import dump
from ordeal.nursery import Nursery
from ordeal.receiver import TABLES
from sygefravaer import agreements, failpoint
from sygefravaer.contract.operations import OPERATIONS, Operation, Service
from sygefravaer.lanes import MIGRATIONS as LANES
from sygefravaer.ledger import MIGRATIONS as LEDGER
from sygefravaer.sandbox import seed
from sygefravaer.sandbox.parts import AARHUS, GATEWAY, JOBCENTERS, KSD, SYSTEMS, VIBORG, Layout, Spec, toml
from sygefravaer.store import EmbeddedServer, Store, migrate
from sygefravaer.vault import Vault

NODES = ("gateway-1", "gateway-2")
RECEIVERS = tuple(spec.name for spec in SYSTEMS)
LEASE = 1.5  # seconds until what a dead node held goes on; 60 in production
TIMEOUT = 1.0  # seconds for one delivery; 40 in production
PATIENCE = 4.0  # seconds that a sender waits for an answer
COME_UP = 60.0
STARTS = 20  # times that a process is started which ends by itself, as one may while the database is away
_PORTS = itertools.cycle(random.sample(range(20_000, 32_000), 12_000))
OUTGOING = "SendForretningsSvar"  # what the sending party sends
MUNICIPALITIES = (VIBORG, AARHUS)
RANDERS = "29189668"  # a municipality that changes its system: it is Viborg's or Aarhus's
MOVERS = ("viborg", "aarhus")
KOMMUNEKODE = {VIBORG: "0791", AARHUS: "0751", RANDERS: "0730"}


@dataclass(kw_only=True)
class Process:
    """A node or a receiver: where it answers, and the process that it is now."""

    name: str
    task: str
    port: int
    config: Path
    log: Path
    mutant: str | None = None
    pid: int | None = None
    ended: asyncio.Future[int] | None = None
    stopped: bool = False

    @property
    def alive(self) -> bool:
        """Say whether there is a process, stopped or not."""
        return self.ended is not None and not self.ended.done()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; it may be gone already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


@dataclass(kw_only=True)
class House:
    """Everything together; `async with`."""

    directory: Path
    pause: float = 0.01  # seconds that a receiver takes over a message
    lease: float = LEASE
    timeout: float = TIMEOUT
    nodes: tuple[str, ...] = NODES
    budget: float | None = None  # seconds that a caller waits for the receiver, if not the operation's own
    outbox: bool = False  # with a sending party, Viborg's jobcentre, that calls the last node

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        try:
            await self._build()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _build(self) -> None:
        self.layout = Layout(self.directory)
        self.layout.directory.mkdir(parents=True, exist_ok=True)
        self.layout.make()
        self.server = EmbeddedServer(self.directory / "pg", state=Path(tempfile.gettempdir()))
        await self.server.start()
        self._stack.push_async_callback(self.server.remove)
        self.pki, self.certificates = seed.certificates(self.layout)
        self.dsn = await self.server.create_part(GATEWAY.schema, secrets.token_hex(8))
        Vault.create_file(self.layout.vault(GATEWAY.schema))
        self.processes: dict[str, Process] = {}
        for spec in SYSTEMS:
            await self._lay_receiver(spec)
        for name in self.nodes:
            self._lay_node(name)
        if self.outbox:
            await self._lay_outbox()
        urls = {name: f"https://localhost:{self.processes[name].port}" for name in RECEIVERS}
        await seed.register(self.dsn, self.certificates, urls)
        await asyncio.to_thread(dump.watch, self.server.superuser_dsn())
        self.died: list[str] = []  # what ended by itself while it was starting
        self.nursery = Nursery()
        await self.nursery.start()
        self._stack.push_async_callback(self.nursery.stop)
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._stack.push_async_callback(self._close_sessions)
        self.flight: dict[str, set[object]] = {name: set() for name in self.processes}
        await asyncio.gather(*(self.start(name) for name in self.processes))
        await asyncio.sleep(0.2)
        self.see_all_alive()  # what answered at its port may have been somebody else

    async def _lay_receiver(self, spec: Spec) -> None:
        schema = f"receiver_{spec.name}"
        dsn = await self.server.create_part(schema, secrets.token_hex(8))
        store = Store(dsn, schema=schema, size=1)
        await store.open()
        await migrate(store, [("ledger", LEDGER), ("ordeal", TABLES)], now=datetime.now(UTC))
        await store.close()
        Vault.create_file(self.layout.vault(schema))
        issued, port = self.certificates.systems[spec.name], free_port()
        settings = {
            "name": spec.name,
            "service": Service.SYGEFRAVAER if spec is KSD else Service.SYGEFRAVAER_JC,
            "port": port,
            "certificate": str(issued.certificate),
            "key": str(issued.key),
            "ca": str(self.pki.ca),
            "dsn": dsn,
            "schema": schema,
            "vault": str(self.layout.vault(schema)),
            "pause": self.pause,
        }
        config = self.layout.directory / f"{spec.name}.json"
        config.write_text(json.dumps(settings), encoding="utf-8")
        self._lay(spec.name, "receiver", port, config)

    async def _lay_outbox(self) -> None:
        schema, (spec, _) = "outbox", parties(OUTGOING, VIBORG)
        dsn = await self.server.create_part(schema, secrets.token_hex(8))
        self.letterbox = Store(dsn, schema=schema, size=1)
        await self.letterbox.open()
        self._stack.push_async_callback(self.letterbox.close)
        await migrate(self.letterbox, [("lanes", LANES)], now=datetime.now(UTC))
        self.outbox_vault = Vault.create_file(self.layout.vault(schema))
        issued, port = self.certificates.systems[spec.name], free_port()
        settings = {
            "certificate": str(issued.certificate),
            "key": str(issued.key),
            "ca": str(self.pki.ca),
            "dsn": dsn,
            "schema": schema,
            "vault": str(self.layout.vault(schema)),
            "port": port,
            "operation": OUTGOING,
            "url": f"https://localhost:{self.processes[self.nodes[-1]].port}",
            "timeout": self.timeout,
            "lease": self.lease,
        }
        config = self.layout.directory / "outbox.json"
        config.write_text(json.dumps(settings), encoding="utf-8")
        self._lay("outbox", "outbox", port, config)

    def _lay_node(self, name: str) -> None:
        port, config = free_port(), self.layout.config(name)
        config.write_text(toml(self.node_settings(port)), encoding="utf-8")
        self._lay(name, "gateway", port, config)

    def _lay(self, name: str, task: str, port: int, config: Path) -> None:
        self.processes[name] = Process(name=name, task=task, port=port, config=config, log=self.layout.log(name))

    def node_settings(self, port: int) -> dict[str, object]:
        """Give the settings of a gateway node."""
        own = self.certificates.platform
        tls = {"certificate": own.certificate, "key": own.key, "ca": self.pki.ca}
        return {
            "part": "gateway",
            "vault": self.layout.vault(GATEWAY.schema),
            "listen": {"host": "127.0.0.1", "port": port, "crl": self.pki.crl, **tls},
            "database": {"dsn": self.dsn, "schema": GATEWAY.schema},
            "delivery": {
                "timeout": self.timeout,
                "lease": self.lease,
                **({} if self.budget is None else {"budget": self.budget}),
            },
            "client": tls,
        }

    async def admit_randers(self) -> None:
        """Let KSD send to a third municipality."""
        store = Store(self.dsn, schema=GATEWAY.schema, size=1)
        await store.open()
        async with store.tx() as tx:
            await agreements.grant_agreement(
                tx,
                agreement_id=uuid4(),
                system_id=KSD.system_id,
                service=Service.SYGEFRAVAER_JC,
                municipality_cvr=RANDERS,
                valid_from=seed.VALID_FROM,
                now=datetime.now(UTC),
            )
        await store.close()

    async def route_randers(self, name: str) -> None:
        """Let what is for the third municipality go to this system from today on."""
        store, service, now = Store(self.dsn, schema=GATEWAY.schema, size=1), Service.SYGEFRAVAER_JC, datetime.now(UTC)
        await store.open()
        async with store.tx() as tx:
            await agreements.set_route(
                tx,
                route_id=uuid4(),
                service=service,
                municipality_cvr=RANDERS,
                system_id=next(spec for spec in JOBCENTERS if spec.name == name).system_id,
                url=f"https://localhost:{self.processes[name].port}{service.path}",
                valid_from=now.date(),
                now=now,
            )
        await store.close()

    # --- processes ---

    async def start(self, name: str, *, fuse: str | None = None, patience: float | None = None) -> None:
        """Start a process, with a failpoint armed or none, and wait until it takes connections; armed, it may end."""
        for _ in range(STARTS):
            await self.launch(name, fuse=fuse, patience=patience)
            await self.up(name)
            if fuse is not None or self.processes[name].alive:
                return
            self.died.append(name)
            await asyncio.sleep(0.1)
        raise AssertionError(f"{name} does not start: {self.processes[name].log.read_text()[-2000:]}")

    async def infect(self, mutants: Mapping[str, str]) -> None:
        """Start every process anew, with these mutants by the process's task, or with none."""
        for one in self.processes.values():
            wanted = mutants.get(one.task)
            if one.mutant != wanted:
                one.mutant = wanted
                await self.kill(one.name)
                await self.start(one.name)

    def see_all_alive(self) -> None:
        """Raise when a process has ended that nobody had ended."""
        for one in self.processes.values():
            if not one.alive:
                code = one.ended.result() if one.ended else None
                raise AssertionError(f"{one.name} has ended ({code}): {one.log.read_text()[-2000:]}")

    async def launch(self, name: str, *, fuse: str | None = None, patience: float | None = None) -> None:
        """Start a process."""
        one = self.processes[name]
        env = {failpoint.VARIABLE: fuse} if fuse else {}
        one.pid, one.ended = await self.nursery.fork(
            one.task, one.config, log=one.log, env=env, mutant=one.mutant, patience=patience
        )
        one.stopped = False

    async def up(self, name: str) -> None:
        """Wait until a process takes connections, or has ended."""
        one = self.processes[name]
        async with asyncio.timeout(COME_UP):
            while one.alive:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", one.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        one = self.processes[name]
        if one.alive:
            one.signal(signal.SIGKILL)
            await one.ended

    async def finish(self, name: str) -> int:
        """SIGTERM; give the exit code."""
        one = self.processes[name]
        if one.alive:
            one.signal(signal.SIGTERM)
        return await asyncio.wait_for(asyncio.shield(one.ended), COME_UP)

    def stop(self, name: str) -> None:
        """SIGSTOP: its sockets stay open and nothing answers."""
        one = self.processes[name]
        if one.alive:
            one.signal(signal.SIGSTOP)
            one.stopped = True

    def go_on(self, name: str) -> None:
        """SIGCONT."""
        one = self.processes[name]
        if one.alive and one.stopped:
            one.signal(signal.SIGCONT)
        one.stopped = False

    async def crash_database(self, *, how: signal.Signals = signal.SIGKILL) -> None:
        """End the database at once: SIGKILL, or SIGQUIT, which is PostgreSQL's own immediate shutdown."""
        pid = self.server.pid()
        if pid is not None:
            os.kill(pid, how)
            while self.server.pid() is not None:
                await asyncio.sleep(0.01)

    async def start_database(self) -> None:
        """Start the database again, with whatever recovery it needs."""
        await self.server.start()

    # --- sending ---

    async def send(self, node: str, sender: str, operation: Operation, body: bytes, *, recipient: str) -> Told:
        """Post once; whatever goes wrong on the way is an unknown outcome."""
        url = f"https://localhost:{self.processes[node].port}{operation.service.path}"
        call = object()
        for name in (node, recipient):
            self.flight[name].add(call)
        try:
            async with self._session(sender).post(url, data=body, headers={"Content-Type": "text/xml"}) as answer:
                return read(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError):
            return Told(code=None)
        finally:
            for name in (node, recipient):
                self.flight[name].discard(call)

    def _session(self, name: str) -> aiohttp.ClientSession:
        if name not in self._sessions:
            issued = self.certificates.systems[name]
            context = ssl.create_default_context(cafile=str(self.pki.ca))
            context.load_cert_chain(issued.certificate, issued.key)
            self._sessions[name] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=200),
                timeout=aiohttp.ClientTimeout(total=PATIENCE),
                trust_env=False,
            )
        return self._sessions[name]

    async def _close_sessions(self) -> None:
        for session in self._sessions.values():
            await session.close()


class Paper:
    """Messages, written from the samples once per operation and municipality and filled in after that."""

    def __init__(self) -> None:
        self._forms: dict[tuple[str, str], bytes] = {}
        self._id, self._lane, self._sender = uuid4(), uuid4(), uuid4()

    def write(self, operation: str, municipality: str, *, besked_id: UUID, lane: UUID, sender: UUID) -> bytes:
        """Write a message."""
        key = (operation, municipality)
        if key not in self._forms:
            then = datetime(2000, 1, 1, tzinfo=UTC)
            body = message(operation, besked_id=self._id, lane=self._lane, sender=self._sender, now=then)
            body = body.replace(VIBORG.encode(), municipality.encode())
            body = body.replace(KOMMUNEKODE[VIBORG].encode(), KOMMUNEKODE[municipality].encode())
            self._forms[key] = body
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = self._forms[key]
        for old, new in (
            (str(self._id), str(besked_id)),
            (str(self._lane), str(lane)),
            (str(self._sender), str(sender)),
            ("2000-01-01T00:00:00Z", now),
        ):
            body = body.replace(old.encode(), new.encode())
        return body


def parties(operation: str, municipality: str) -> tuple[Spec, Spec]:
    """Say who sends an operation for a municipality, and who receives it."""
    jobcenter = next((spec for spec in JOBCENTERS if municipality in spec.municipalities), JOBCENTERS[0])
    return (jobcenter, KSD) if OPERATIONS[operation].service is Service.SYGEFRAVAER else (KSD, jobcenter)


def free_port() -> int:
    """Find a port that nobody listens at, below those that outgoing connections are given: it is to stay free."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
