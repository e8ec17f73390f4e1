# SPDX-License-Identifier: MPL-2.0
"""
A gateway's process with a proxy on each of its legs, senders who keep to the contract, and what they then find.

Each sender has lanes: the next message of a lane leaves when the one before has been acknowledged, and each is repeated
until its receipt is final. So the order in which a lane was applied must be the order in which it was written.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
from benchmarks.rig import SAMPLES, SENDS, Rig, Told, message, read
from lxml import etree

from ordeal.proxy import Proxy, Way
from sygefravaer import soap
from sygefravaer.contract.names import NS_SOAP11
from sygefravaer.contract.operations import OPERATIONS, Operation, Service
from sygefravaer.endpoint import Call

LOOKUPS = tuple(name for name, operation in OPERATIONS.items() if operation.lookup)
PATIENCE = 4.0  # seconds that a sender waits for an answer
AGAIN = 0.25  # seconds until he tries again; the contract's minute would only make the trial long
SHOWN = 3
ACKNOWLEDGED = frozenset({"OK", "ADVARSEL"})


def say(line: object) -> None:
    """Print a line of the report at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def verdict(wrong: Sequence[str], well: str = "each applied once, in order") -> str:
    """Say what was wrong, not all of it when it is much."""
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return "; ".join(wrong[:SHOWN]) + more if wrong else well


@dataclass(kw_only=True)
class Letter:
    """One message, and all that its sender was told."""

    operation: str
    besked_id: UUID
    lane: UUID
    body: bytes
    told: list[Told] = field(default_factory=list)
    faults: int = 0  # Server faults: it did not work, and he may try again
    blamed: int = 0  # Client faults: he is told that it is his own fault

    @property
    def acknowledged(self) -> bool:
        """Say whether the gateway has taken it, as far as the sender knows."""
        return any(one.code in ACKNOWLEDGED for one in self.told)

    @property
    def final(self) -> Told | None:
        """Give the receipt that will not change."""
        return next((one for one in self.told if one.final), None)


def compare(lanes: Iterable[Sequence[Letter]], applied: Mapping[str, Sequence[UUID]]) -> list[str]:
    """Give what the promise does not allow; `applied` is what the receivers have, by lane, in the order of applying."""
    wrong: list[str] = []
    for lane in lanes:
        there, where = applied.get(str(lane[0].lane), ()), f"lane {lane[0].lane} of {lane[0].operation}"
        times = Counter(there)
        sent = [letter.besked_id for letter in lane]
        if list(dict.fromkeys(one for one in there if one in sent)) != [one for one in sent if times[one]]:
            wrong.append(f"{where}: not in the order of sending")
        if set(there) - set(sent):
            wrong.append(f"{where}: something that was not sent there")
        for letter in lane:
            which, number = f"{letter.operation} {letter.besked_id}", times[letter.besked_id]
            if not number:
                wrong.append(f"{which}: {'acknowledged and ' if letter.acknowledged else ''}not applied")
            if number > 1:
                wrong.append(f"{which}: applied {number} times")
            if any(one.code == "FEJL" for one in letter.told) or letter.blamed:
                wrong.append(f"{which}: refused, and nothing was wrong with it")
            if len({one.raw for one in letter.told if one.final}) != 1:
                wrong.append(f"{which}: no final receipt, or two that differ")
    return wrong


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a process holds."""

    threads: int
    sockets: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Held:
        """Look into /proc."""
        status = Path(f"/proc/{pid}/status").read_text()
        threads = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))
        sockets = files = 0
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                kind = str(entry.readlink())
            except OSError:
                continue
            if kind.startswith("socket:"):
                sockets += 1
            else:
                files += 1
        return cls(threads=threads, sockets=sockets, files=files)


class Street(Rig):
    """The rig with proxies: `clients`, `receivers` and `database`."""

    def __init__(self, directory: Path, *, seed: int = 0) -> None:
        super().__init__(directory)
        self.seed = seed
        self.clients = Proxy(name="clients", to=self.port, seed=seed)
        self.receivers: list[Proxy] = []
        self.database = Proxy(name="database", to=0, seed=seed)
        self._replies = {
            name: soap.element_bytes(etree.parse(SAMPLES / f"{OPERATIONS[name].reply_name}.min.xml").getroot()[-1][0])
            for name in LOOKUPS
        }

    @property
    def pid(self) -> int:
        """Give the gateway's process id."""
        return self._process.pid

    @property
    def legs(self) -> dict[str, tuple[list[Proxy], Way]]:
        """Give the legs, and in which direction the gateway speaks on each."""
        return {
            "clients": ([self.clients], Way.DOWN),
            "receivers": (self.receivers, Way.UP),
            "database": ([self.database], Way.UP),
        }

    def _handlers(self, service: Service) -> dict:
        lookups = {name: self._look for name in LOOKUPS if OPERATIONS[name].service is service}
        return super()._handlers(service) | lookups

    async def _look(self, call: Call) -> bytes:
        return self._replies[call.operation.name]

    async def _lay(self) -> None:
        for name, url in self.urls.items():
            self.receivers.append(Proxy(name=name, to=int(url.rpartition(":")[2]), seed=self.seed))
        self.database.to = self.server.socket_directory / ".s.PGSQL.5432"
        for proxy in (self.clients, *self.receivers, self.database):
            await proxy.start()
            self._stack.push_async_callback(proxy.stop)
        self.urls = {proxy.name: f"https://localhost:{proxy.port}" for proxy in self.receivers}

    def _settings(self) -> dict:
        through = f"{self.dsn} host=127.0.0.1 port={self.database.port} connect_timeout=3"
        return super()._settings() | {"database": {"dsn": through, "schema": "platform"}}

    # --- senders ---

    def letters(self, operations: Sequence[str] = SENDS, *, lanes: int = 2, each: int = 3) -> list[list[Letter]]:
        """Write messages, in lanes."""
        return [
            [self.letter(name, lane) for _ in range(each)]
            for name in operations
            for lane in (uuid4() for _ in range(lanes))
        ]

    def letter(self, operation: str, lane: UUID) -> Letter:
        """Write a message."""
        _, sender = self.sender(OPERATIONS[operation])
        besked_id = uuid4()
        body = message(operation, besked_id=besked_id, lane=lane, sender=sender)
        return Letter(operation=operation, besked_id=besked_id, lane=lane, body=body)

    async def once(self, letter: Letter, *, patience: float = PATIENCE) -> Told:
        """Send a message once."""
        body = await self.post(OPERATIONS[letter.operation], letter.body, patience=patience)
        told = read(body or b"")
        letter.told.append(told)
        if body is not None and told.code is None:
            letter.faults += b"Server</faultcode>" in body
            letter.blamed += b"Client</faultcode>" in body
        return told

    async def deliver(self, lane: Sequence[Letter]) -> None:
        """Send the messages of a lane one after the other, and repeat them until the end of each is known."""
        for letter in lane:
            while not letter.acknowledged:
                if (await self.once(letter)).code is None:
                    await asyncio.sleep(AGAIN)
        for letter in lane:
            while letter.final is None:
                await asyncio.sleep(AGAIN)
                await self.once(letter)

    async def look_up(self, name: str, enough: asyncio.Event) -> int:
        """Look up again and again, until `enough` and then until it is answered; give how many were not."""
        body, missed = (SAMPLES / f"{name}Request.min.xml").read_bytes(), 0
        body = self._as_viborg(body)
        while True:
            told = enough.is_set()
            answer = await self.post(OPERATIONS[name], body)
            good = answer is not None and f"{OPERATIONS[name].reply_name}".encode() in answer
            missed += not good
            if good and told:
                return missed
            await asyncio.sleep(AGAIN)

    def _as_viborg(self, body: bytes) -> bytes:
        envelope = etree.fromstring(body)
        for found in envelope.iter("{*}AfsenderSystemID"):
            found.text = str(self.viborg)
        for found in envelope.iter("{*}Afsendelsestidspunkt"):
            found.text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return etree.tostring(envelope, xml_declaration=True, encoding="UTF-8")

    async def post(self, operation: Operation, body: bytes, *, patience: float = PATIENCE) -> bytes | None:
        """Post through the proxy; None when no answer came."""
        name, _ = self.sender(operation)
        url = f"https://localhost:{self.clients.port}{operation.service.path}"
        try:
            async with self._session(name).post(
                url,
                data=body,
                headers={"Content-Type": "text/xml"},
                timeout=aiohttp.ClientTimeout(total=patience),
            ) as answer:
                whole = await answer.read()
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError):
            return None
        try:
            root = etree.fromstring(whole)
        except etree.XMLSyntaxError:
            return None
        return whole if root.tag == f"{{{NS_SOAP11}}}Envelope" else None

    def _session(self, name: str) -> aiohttp.ClientSession:
        if name not in self._sessions:
            issued = self.certificates.systems[name]
            context = ssl.create_default_context(cafile=str(self.pki.ca))
            context.load_cert_chain(issued.certificate, issued.key)
            self._sessions[name] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0))
        return self._sessions[name]

    async def leave(self) -> None:
        """Let the senders hang up."""
        await self._close_sessions()
        self._sessions.clear()

    # --- what is then found ---

    async def judge(self, lanes: Iterable[Sequence[Letter]]) -> list[str]:
        """Compare what the senders were told with what the receivers have; give what the promise does not allow."""
        lanes = list(lanes)
        applied: dict[str, list[UUID]] = defaultdict(list)
        for name in {lane[0].operation for lane in lanes}:
            for besked_id, lane in await self.applied(name):
                applied[lane].append(besked_id)
        return compare(lanes, applied)

    def orphans(self) -> int:
        """Count the gateway's sockets that are none of the connections that it holds through a proxy."""
        known = sum(proxy.held(way) for proxies, way in self.legs.values() for proxy in proxies)
        return Held.of(self.pid).sockets - known

    async def until(self, true, within: float) -> bool:
        """Wait until something is so; say whether it came to be in time."""
        end = time.monotonic() + within
        while not true():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.2)
        return True


@dataclass(kw_only=True)
class Flow:
    """Senders who go on until they are stopped."""

    street: Street
    operations: Sequence[str] = SENDS
    wide: int = 4  # lanes of each operation
    lanes: list[list[Letter]] = field(default_factory=list)
    acknowledged: list[tuple[float, float]] = field(default_factory=list)  # first sent, first acknowledged
    _end: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begin."""
        self.lanes = self.street.letters(self.operations, lanes=self.wide, each=1)
        for lane in self.lanes:
            self._tasks.append(asyncio.create_task(self._send(lane)))

    async def _send(self, lane: list[Letter]) -> None:
        while True:
            letter, begun = lane[-1], time.monotonic()
            while not letter.acknowledged:
                if (await self.street.once(letter)).code is None:
                    await asyncio.sleep(0.25)
            self.acknowledged.append((begun, time.monotonic()))
            if self._end.is_set():
                return
            lane.append(self.street.letter(letter.operation, letter.lane))
            await asyncio.sleep(0.02)

    def told(self) -> set[UUID]:
        """Give what has been acknowledged so far."""
        return {letter.besked_id for lane in self.lanes for letter in lane if letter.acknowledged}

    async def stop(self, within: float) -> bool:
        """Let each lane come to its end; say whether all did."""
        self._end.set()
        finals = [
            asyncio.create_task(self._finish(task, lane)) for task, lane in zip(self._tasks, self.lanes, strict=True)
        ]
        _, late = await asyncio.wait(finals, timeout=within)
        for task in late:
            task.cancel()
        return not late

    async def _finish(self, task: asyncio.Task[None], lane: list[Letter]) -> None:
        await task
        await self.street.deliver(lane)
