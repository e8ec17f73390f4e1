# SPDX-License-Identifier: MPL-2.0
"""
A gateway between two jobcentre systems and KSD, in one process: real certificates, real sockets, a real database.

The receivers are built with the product's own `Endpoint`; what they answer is a function that a test may replace.
"""

from __future__ import annotations

import asyncio
import copy
import io
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

import aiohttp
from lxml import etree

from sygefravaer import agreements, soap
from sygefravaer.agreements import Role
from sygefravaer.client import client_tls
from sygefravaer.contract.messages import Reply, SygefravaerResponse, TransportKvitteringType, kvittering_ok
from sygefravaer.contract.names import NS_AUTHORITY, NS_FAELLES, NS_KVITTERING
from sygefravaer.contract.operations import OPERATIONS, Environment, Operation, Service
from sygefravaer.delivery import Clients, Delivery, Done, Parked, Selection
from sygefravaer.endpoint import Call, Endpoint, HttpDoor, Peers, Server, server_tls
from sygefravaer.gateway import Gateway
from sygefravaer.identity import from_der
from sygefravaer.sandbox.pki import Issued

SAMPLES = Path(__file__).parent / "samples"
START_OF_TIME = date(2014, 1, 1)
VIBORG, AARHUS, RANDERS = "29189846", "55133018", "29189668"
KODE = {VIBORG: "0791", AARHUS: "0751", RANDERS: "0730"}
SYSTEMS = {
    "viborg": UUID("7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a24"),  # as in the samples
    "aarhus": UUID("7a1e4c52-8d3b-4f60-a2c9-5b7d9e1f3a25"),
    "ksd": UUID("0b5d7c8e-3f21-4a6b-9c0d-1e2f3a4b5c6d"),
}
MUNICIPALITY = {"viborg": VIBORG, "aarhus": AARHUS}
SENDS = tuple(name for name, operation in OPERATIONS.items() if not operation.lookup)
LOOKUPS = tuple(name for name, operation in OPERATIONS.items() if operation.lookup)
FAELLES = f"{{{NS_FAELLES}}}"
KVITTERING = f"{{{NS_KVITTERING}}}"


def message(name: str, *, caller: str = "", cvr: str = "", **fields: object) -> etree._Element:
    """Make an envelope from the operation's minimal sample; `fields` are set in Hoved, None removes one."""
    envelope = etree.parse(SAMPLES / f"{name}Request.min.xml").getroot()
    caller = caller or ("viborg" if OPERATIONS[name].to_ksd else "ksd")
    cvr = cvr or MUNICIPALITY.get(caller, VIBORG)
    values = {
        "BeskedID": uuid4(),
        "AfsenderSystemID": SYSTEMS[caller],
        "AfsenderMyndighedCVR": cvr,
        "ModtagerMyndighedCVR": cvr,
        "Kommunekode": KODE[cvr],
    } | fields
    for number in envelope.iter(f"{{{NS_AUTHORITY}}}MunicipalityCVR"):
        number.text = cvr
    hoved = next(envelope.iter(f"{FAELLES}Hoved"))
    for field_name, value in values.items():
        put(hoved, field_name, value)
    case = next(envelope.iter("{*}Sygefravaerssag"), None)
    if case is not None and values.get("NemrefusionsID"):
        case.find(f"{FAELLES}NemrefusionsID").text = str(values["NemrefusionsID"])
    return envelope


HOVED = [
    "BeskedID",
    "Beskedtype",
    "SnitfladeID",
    "SnitfladeVersion",
    "KorrelationsID",
    "ReferenceBeskedID",
    "AfsenderMyndighedCVR",
    "ModtagerMyndighedCVR",
    "AfsenderSystemID",
    "ModtagerSystemID",
    "Kommunekode",
    "Afsendelsestidspunkt",
    "CprNummer",
    "NemrefusionsID",
    "Testmarkering",
]


def put(hoved: etree._Element, name: str, value: object) -> None:
    """Set, add in its place, or with None remove, a field of Hoved."""
    found = hoved.find(FAELLES + name)
    if value is None:
        if found is not None:
            hoved.remove(found)
        return
    if found is None:
        found = etree.Element(FAELLES + name)
        before = [one for one in hoved if HOVED.index(etree.QName(one).localname) < HOVED.index(name)]
        hoved.insert(len(before), found)
    found.text = str(value)


def besked_id(envelope: etree._Element) -> UUID:
    return UUID(next(envelope.iter(f"{FAELLES}BeskedID")).text)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the gateway answered."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def content(self) -> etree._Element:
        """The element in the Body."""
        return etree.fromstring(self.body)[-1][0]

    @property
    def kode(self) -> str | None:
        """TransportValideringsKode of a response; None for anything else."""
        return None if self.is_fault else self.content.findtext(f".//{KVITTERING}TransportValideringsKode")

    @property
    def is_fault(self) -> bool:
        return etree.QName(self.content).localname == "Fault"

    @property
    def code(self) -> str | None:
        """The code of a fault, or the first FejlKode of a receipt."""
        return self.content.findtext(".//{*}ErrorCode") or self.content.findtext(".//{*}FejlKode")

    @property
    def faultcode(self) -> str:
        return self.content.findtext("faultcode").rpartition(":")[2]


async def fine(call: Call) -> Reply | bytes:
    """Answer a send with OK, and a look-up with its minimal sample."""
    if call.operation.lookup:
        envelope = etree.parse(SAMPLES / f"{call.operation.reply_name}.min.xml").getroot()
        return soap.element_bytes(envelope[-1][0])
    return receipt(kvittering_ok())


def receipt(value: TransportKvitteringType) -> SygefravaerResponse:
    return SygefravaerResponse(TransportKvittering=value)


@dataclass(kw_only=True)
class Receiver:
    """A system that receives: what came, and what it does about it. `raw` replaces the whole application."""

    endpoint: Endpoint | None = None
    server: Server | None = None
    answer: Callable[[Call], Awaitable[Reply | bytes]] = fine
    raw: Callable[..., Awaitable[None]] | None = None
    calls: list[Call] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)

    async def __call__(self, scope, receive, send) -> None:
        await (self.raw or self.endpoint)(scope, receive, send)

    async def handle(self, call: Call) -> Reply | bytes:
        self.calls.append(call)
        self.peers.add(call.identity.serial_key)
        return await self.answer(call)

    @property
    def came(self) -> list[UUID]:
        return [call.besked_id for call in self.calls]


@cache
def _receives(issued: Issued, ca: Path) -> ssl.SSLContext:
    """Make a receiver's context, once for a certificate: reading it costs as much as a call."""
    return server_tls(issued.certificate, issued.key, ca)


@cache
def _calls(issued: Issued, ca: Path) -> ssl.SSLContext:
    """Make a caller's context, likewise."""
    return client_tls(issued.certificate, issued.key, ca)


class Corridor:
    """Everything together; `async with`."""

    def __init__(self, store, vault, clock, pki, **options) -> None:
        self.store, self.vault, self.clock, self.pki = store, vault, clock, pki
        self.options = options
        self.receivers = {name: Receiver() for name in SYSTEMS}
        self.issued = {
            name: pki.get(name) or pki.issue(name, "12345674")
            for name in (*SYSTEMS, "platform", "callback", "stranger", "gateway-only")
        }
        self.peers = Peers()

    async def __aenter__(self) -> Self:
        for name, receiver in self.receivers.items():
            service = Service.SYGEFRAVAER if name == "ksd" else Service.SYGEFRAVAER_JC
            handlers = {one.name: receiver.handle for one in OPERATIONS.values() if one.service is service}
            receiver.endpoint = Endpoint(service, handlers, clock=self.clock)
            receiver.server = Server(receiver, tls=self._tls(name), grace=0.2)
            await receiver.server.start()
        self.clients = Clients(self.tls("callback"), timeout=self.options.pop("timeout", 5.0))
        budget = self.options.pop("budget", None)
        limits = self.options.pop("limits", soap.LIMITS)
        self.delivery = Delivery(
            store=self.store,
            vault=self.vault,
            clock=self.clock,
            environment=Environment.TEST,
            clients=self.clients,
            **self.options,
        )
        self.parked = Parked(store=self.store, vault=self.vault, environment=Environment.TEST)
        self.gateway = Gateway(
            store=self.store,
            delivery=self.delivery,
            clients=self.clients,
            vault=self.vault,
            clock=self.clock,
            environment=Environment.TEST,
            budget=budget,
            limits=limits,
        )
        door = HttpDoor(self.gateway.handlers, clock=self.clock, peers=self.peers, limits=limits)
        tls = self._tls("platform", crls=(self.pki.crl,))
        self.server = Server(door, tls=tls, grace=0.2)
        await self.server.start()
        self.sessions: dict[str, aiohttp.ClientSession] = {}
        await self._register()
        self.worker: asyncio.Task[None] | None = None
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self.sessions.values():
            await session.close()
        await self.server.stop()
        await self.delivery.stop(patience=0.2)
        if self.worker is not None:
            await self.worker
        await self.clients.close()
        for receiver in self.receivers.values():
            await receiver.server.stop()

    def work(self) -> None:
        """Start the worker."""
        self.worker = asyncio.create_task(self.delivery.run())

    async def _register(self) -> None:
        now = self.clock.now()
        async with self.store.tx() as tx:
            for name, system_id in SYSTEMS.items():
                role = Role.KSD if name == "ksd" else Role.JOBCENTER
                await agreements.register_system(
                    tx,
                    system_id=system_id,
                    name=name,
                    vendor_cvr="12345674",
                    role=role,
                    environment=Environment.TEST,
                    now=now,
                )
                await agreements.register_certificate(
                    tx,
                    from_der(self.issued[name].der),
                    system_id=system_id,
                    environment=Environment.TEST,
                    valid_from=START_OF_TIME,
                    now=now,
                )
            for name, cvr in MUNICIPALITY.items():
                await self.agree(tx, name, Service.SYGEFRAVAER, cvr)
                await self.agree(tx, "ksd", Service.SYGEFRAVAER_JC, cvr)
                await self.route(tx, Service.SYGEFRAVAER_JC, cvr, name)
            await self.route(tx, Service.SYGEFRAVAER, agreements.ALL, "ksd")

    async def agree(self, tx, system: str, service: Service, cvr: str, **changes: object) -> UUID:
        values = {"agreement_id": uuid4(), "valid_from": START_OF_TIME, "now": self.clock.now()} | changes
        await agreements.grant_agreement(tx, system_id=SYSTEMS[system], service=service, municipality_cvr=cvr, **values)
        return values["agreement_id"]

    async def route(self, tx, service: Service, cvr: str, system: str, **changes: object) -> UUID:
        values = {
            "route_id": uuid4(),
            "url": self.receivers[system].server.url + service.path,
            "valid_from": START_OF_TIME,
            "now": self.clock.now(),
        } | changes
        await agreements.set_route(tx, service=service, municipality_cvr=cvr, system_id=SYSTEMS[system], **values)
        return values["route_id"]

    async def replay(self, *ids: int, who: str = "drift", **selected: object) -> Done:
        """Plan a replay, carry it out, and wake the worker."""
        now = self.clock.now()
        plan = await self.parked.plan(Selection(ids=ids, **selected), now=now)
        done = await self.parked.run(plan.digest, plan.selection, who=who, now=now)
        self.delivery.wake()
        return done

    async def discard(self, message_id: int, *, reason: str, who: str = "drift") -> None:
        """End a parked message, and wake the worker."""
        await self.parked.discard(message_id, who=who, reason=reason, now=self.clock.now())
        self.delivery.wake()

    def _tls(self, name: str, crls: tuple[Path, ...] = ()) -> ssl.SSLContext:
        issued = self.issued[name]
        return server_tls(issued.certificate, issued.key, self.pki.ca, crls) if crls else _receives(issued, self.pki.ca)

    def tls(self, name: str) -> ssl.SSLContext:
        return _calls(self.issued[name], self.pki.ca)

    def url(self, operation: Operation | str) -> str:
        service = operation.service if isinstance(operation, Operation) else OPERATIONS[operation].service
        return self.server.url + service.path

    async def send(
        self,
        name: str,
        envelope: etree._Element | bytes | io.BytesIO,
        *,
        caller: str = "",
        headers: dict[str, str] | None = None,
    ) -> Told:
        """Post an envelope (or any bytes) as a caller; the operation's name gives the address."""
        raw = isinstance(envelope, bytes | io.BytesIO)
        body = envelope if raw else etree.tostring(envelope, encoding="UTF-8")
        caller = caller or ("viborg" if OPERATIONS[name].to_ksd else "ksd")
        if caller not in self.sessions:
            connector = aiohttp.TCPConnector(ssl=self.tls(caller))
            self.sessions[caller] = aiohttp.ClientSession(connector=connector, trust_env=False)
        sent = {"Content-Type": "text/xml; charset=utf-8"} | (headers or {})
        async with self.sessions[caller].post(self.url(name), data=body, headers=sent) as response:
            return Told(
                status=response.status,
                body=await response.read(),
                headers={k.lower(): v for k, v in response.headers.items()},
            )

    async def rows(self, table: str, where: str = "true", **params: object) -> list[dict]:
        async with self.store.read() as tx:
            return [dict(row) for row in await tx.all(f"SELECT * FROM {table} WHERE {where} ORDER BY 1", **params)]

    async def stored(self, envelope: etree._Element) -> dict:
        """Give the row of a message."""
        (row,) = await self.rows("message", "besked_id = %(id)s", id=besked_id(envelope))
        return row

    async def heard(self) -> None:
        """Wait until nothing is owed to a sender: it is noted after the answer has been written."""
        async with asyncio.timeout(10):
            while (await self.delivery.counts())["unheard"]:
                await asyncio.sleep(0.01)

    async def until(self, envelope: etree._Element, *states: str) -> dict:
        """Wait until a message is in one of these states."""
        async with asyncio.timeout(10):
            while (row := await self.stored(envelope))["status"] not in states:
                await asyncio.sleep(0.01)
        return row


def another(envelope: etree._Element, **fields: object) -> etree._Element:
    """Copy an envelope with other fields in Hoved."""
    copied = copy.deepcopy(envelope)
    for name, value in fields.items():
        put(next(copied.iter(f"{FAELLES}Hoved")), name, value)
    return copied
