# SPDX-License-Identifier: MPL-2.0
"""
The stand of the delivery measures: PostgreSQL, gateway nodes and receivers, each in processes of their own.

Gateway nodes run as in production: `serve gateway` with the times of production and the sealing of the audit chain.
Receivers are the real endpoint with its ledger (`benchmarks.receiver`), so that a delivery costs what it costs.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from benchmarks.rig import message
from sygefravaer import audit
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.sandbox import seed
from sygefravaer.sandbox.parts import AARHUS, GATEWAY, JOBCENTERS, KSD, VIBORG, Layout, Spec, toml
from sygefravaer.store import EmbeddedServer
from sygefravaer.vault import Vault

Delivery = Mapping[str, float]  # settings of the gateway's table `delivery` that are not those of production
TO_KSD = "SendOpdateringFravaer"
TO_JOBCENTER = "SendHaendelseSygefravaerssag"
SPECS = {spec.name: spec for spec in (KSD, *JOBCENTERS)}
_KOMMUNEKODER = {VIBORG: "0791", AARHUS: "0751"}
_MOMENT = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_START_SECONDS = 60.0
_OPEN = "SELECT count(*) FROM platform.message WHERE status IN ('queued', 'sending', 'parked')"


def template(operation: str, sender: str, municipality: str = VIBORG) -> str:
    """Write a request with `{uuid}` for its BeskedID, `{lane}` for its NemrefusionsID and `{now}` for its time."""
    besked_id, lane = uuid4(), uuid4()
    text = message(operation, besked_id=besked_id, lane=lane, sender=SPECS[sender].system_id, now=_MOMENT).decode()
    places = {str(besked_id): "{uuid}", str(lane): "{lane}", "2001-02-03T04:05:06Z": "{now}"}
    places |= {f">{VIBORG}<": f">{municipality}<", f">{_KOMMUNEKODER[VIBORG]}<": f">{_KOMMUNEKODER[municipality]}<"}
    for found, wanted in places.items():
        text = text.replace(found, wanted)
    return text


class Stand:
    """Everything between a sender and a receiver; within it, all nodes and the wanted receivers run."""

    def __init__(
        self, directory: Path, *, nodes: int = 1, receivers: Sequence[str] = ("ksd",), delivery: Delivery | None = None
    ) -> None:
        self.directory = directory
        self.layout = Layout(directory / "stand")
        self.server = EmbeddedServer(directory / "pg")
        self.ports = [_free_port() for _ in range(nodes)]
        self._wanted = receivers
        self._delivery = delivery or {}
        self._stack = AsyncExitStack()
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._receivers: dict[str, subprocess.Popen[bytes]] = {}
        self._receiver_jobs: dict[str, dict] = {}

    async def __aenter__(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.layout.directory.mkdir(parents=True)
        self.layout.make()
        self._stack.push_async_callback(self.server.remove)
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in (*self._nodes.values(), *self._receivers.values()):
            await asyncio.to_thread(_ended, process)
        await self._stack.aclose()

    async def _start(self) -> None:
        await self.server.start()
        self.pki, self.certificates = seed.certificates(self.layout)
        self.dsn = await self.server.create_part(GATEWAY.schema, secrets.token_hex(8))
        self.vault = Vault.create_file(self.layout.vault(GATEWAY.schema))
        audit.create_key(self.layout.audit_key)
        for spec in (KSD, *JOBCENTERS):
            await self._make_receiver(spec)
        for name in self._wanted:
            await self.start_receiver(name)
        urls = {name: f"https://localhost:{job['port']}" for name, job in self._receiver_jobs.items()}
        await seed.register(self.dsn, self.certificates, urls)
        self.admin = await psycopg.AsyncConnection.connect(self.server.superuser_dsn(), autocommit=True)
        self._stack.push_async_callback(self.admin.close)
        for number in range(len(self.ports)):
            self._configure(number)
            await self.start_node(number)

    # --- receivers ---

    async def _make_receiver(self, spec: Spec) -> None:
        schema = f"receiver_{spec.name}"
        Vault.create_file(self.layout.vault(schema))
        issued = self.certificates.systems[spec.name]
        self._receiver_jobs[spec.name] = {
            "service": (Service.SYGEFRAVAER if spec is KSD else Service.SYGEFRAVAER_JC).name,
            "certificate": issued.certificate,
            "key": issued.key,
            "ca": self.pki.ca,
            "dsn": await self.server.create_part(schema, secrets.token_hex(8)),
            "schema": schema,
            "vault": self.layout.vault(schema),
            "port": _free_port(),
        }

    async def start_receiver(self, name: str, kind: str = "real") -> None:
        """Start a receiver: `real`, `silent` or `quick`, as `benchmarks.receiver` says."""
        file = self.layout.directory / f"receiver-{name}.json"
        file.write_text(json.dumps(self._receiver_jobs[name] | {"kind": kind}, default=str), encoding="utf-8")
        with self.layout.log(f"receiver_{name}").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.receiver", str(file)], stdout=subprocess.PIPE, stderr=log
            )
        self._receivers[name] = process
        if not await asyncio.to_thread(process.stdout.readline):
            raise RuntimeError(f"the receiver {name} did not start: {self.layout.log(f'receiver_{name}')}")

    async def stop_receiver(self, name: str) -> None:
        """Stop a receiver: its port refuses from now on."""
        if (process := self._receivers.pop(name, None)) is not None:
            await asyncio.to_thread(_ended, process)

    # --- gateway nodes ---

    def _configure(self, number: int) -> None:
        own = self.certificates.platform
        settings = {
            "part": "gateway",
            "vault": self.layout.vault(GATEWAY.schema),
            "listen": {
                "host": "127.0.0.1",
                "port": self.ports[number],
                "certificate": own.certificate,
                "key": own.key,
                "ca": self.pki.ca,
                "crl": self.pki.crl,
            },
            "database": {"dsn": self.dsn, "schema": GATEWAY.schema},
            "delivery": self._delivery,
            "client": {"certificate": own.certificate, "key": own.key, "ca": self.pki.ca},
            "audit": {"key": self.layout.audit_key, "anchor": self.layout.directory / f"anchors-{number}"},
        }
        self.layout.config(f"node{number}").write_text(toml(settings), encoding="utf-8")

    async def start_node(self, number: int = 0) -> None:
        """Start a node and wait until it takes connections."""
        command = [*_profiled(number), "-m", "sygefravaer", "serve", "gateway"]
        with self.layout.log(f"node{number}").open("ab") as log:
            self._nodes[number] = subprocess.Popen(
                [sys.executable, *command, "--config", str(self.layout.config(f"node{number}"))],
                stdout=log,
                stderr=log,
            )
        limit = time.monotonic() + _START_SECONDS
        while not _listens(self.ports[number]):
            if self._nodes[number].poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"a node did not start: {self.layout.log(f'node{number}').read_text()[-2000:]}")
            await asyncio.sleep(0.05)

    def stop_still(self, number: int = 0) -> None:
        """SIGSTOP: what it has in hand stays there, to be counted before it is killed."""
        self._nodes[number].send_signal(signal.SIGSTOP)

    def go_on(self, number: int = 0) -> None:
        """SIGCONT, after `stop_still`."""
        self._nodes[number].send_signal(signal.SIGCONT)

    def kill_node(self, number: int = 0) -> None:
        """SIGKILL, and wait until it is gone."""
        self._nodes[number].kill()
        self._nodes[number].wait()

    async def stop_node(self, number: int = 0) -> None:
        """SIGTERM, and wait for the end."""
        await asyncio.to_thread(_ended, self._nodes[number])

    async def reset(self) -> None:
        """Begin anew with empty lanes and nodes that know nothing of any receiver."""
        for number in self._nodes:
            await self.stop_node(number)
        await self.admin.execute("TRUNCATE platform.lane, platform.message, platform.attempt, platform.unheard")
        for number in self._nodes:
            await self.start_node(number)

    # --- what is measured ---

    def processes(self) -> dict[str, int]:
        """Give the process ids of what a soak watches, PostgreSQL's apart."""
        nodes = {f"gateway node {number}": process.pid for number, process in self._nodes.items()}
        return nodes | {f"receiver {name}": process.pid for name, process in self._receivers.items()}

    def job(self, sender: str, operation: str, municipality: str = VIBORG, node: int = 0) -> dict:
        """Give what the load generator needs to send this operation as this system."""
        issued = self.certificates.systems[sender]
        return {
            "text": template(operation, sender, municipality),
            "path": OPERATIONS[operation].service.path,
            "port": self.ports[node],
            "certificate": issued.certificate,
            "key": issued.key,
            "ca": self.pki.ca,
        }

    def direct(self, sender: str, operation: str, recipient: str) -> dict:
        """Give the same without a gateway: what the receiver alone can take, which is the ceiling."""
        own = self.certificates.platform
        return self.job(sender, operation) | {
            "port": self._receiver_jobs[recipient]["port"],
            "certificate": own.certificate,
            "key": own.key,
        }

    async def ask(self, statement: str, **params: object) -> list[tuple]:
        """Ask the database across all schemas."""
        return await (await self.admin.execute(statement, params)).fetchall()

    async def open_messages(self) -> int:
        """Count what has not ended."""
        return (await self.ask(_OPEN))[0][0]

    async def quiet(self, within: float = 60.0) -> int:
        """Wait until nothing is open; give how many still are."""
        limit = time.monotonic() + within
        while (left := await self.open_messages()) and time.monotonic() < limit:
            await asyncio.sleep(0.1)
        return left


def system(name: str) -> UUID:
    """Give the id of a system."""
    return SPECS[name].system_id


def _profiled(number: int) -> list[str]:
    """With SYGEFRAVAER_BENCH_PROFILE=DIR each node writes what its functions cost there when it ends."""
    directory = os.environ.get("SYGEFRAVAER_BENCH_PROFILE")
    return ["-m", "cProfile", "-o", str(Path(directory) / f"node{number}.prof")] if directory else []


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
