# SPDX-License-Identifier: MPL-2.0
"""
The composition root: builds each part from its settings, runs it, and ends it in good order.

Nothing connects before `Part.start()`. A part starts from the inside out (database, work, server, control door) and
ends from the outside in, so that nobody is let in who cannot be served.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import ssl
import sys
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import uvloop

from sygefravaer import __version__, agreements, audit, delivery, failpoint, jobcenter, ksd, lanes, ledger
from sygefravaer.client import Client, client_tls
from sygefravaer.clock import Clock, MovableClock, SystemClock
from sygefravaer.config import Config, Database, Kind, Surroundings, Time
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.contract.plain import to_plain
from sygefravaer.control import Act, Door, Fields, Json, clock_act, head, offered
from sygefravaer.delivery import Clients, Delivery, obligations
from sygefravaer.endpoint import App, HttpDoor, Peers, Server, server_tls
from sygefravaer.errors import StoreUnavailable, UsageError
from sygefravaer.gateway import Gateway
from sygefravaer.jobcenter import Jobcenter
from sygefravaer.ksd import Ksd
from sygefravaer.law import Law
from sygefravaer.store import Store, migrate
from sygefravaer.telemetry import start_logging, tell_supervisor
from sygefravaer.vault import Vault

LOG: Final = logging.getLogger(__name__)

Rooms = tuple[tuple[str, tuple[str, ...]], ...]
Acts = Mapping[str, Act]

PLATFORM: Final[Rooms] = (
    ("agreements", agreements.MIGRATIONS),
    ("audit", audit.MIGRATIONS),
    ("lanes", lanes.MIGRATIONS),
    ("delivery", delivery.MIGRATIONS),
)
"""The rooms that own tables in the platform's schema, in the order in which their migrations run."""

PARTY: Final[Rooms] = (("lanes", lanes.MIGRATIONS), ("ledger", ledger.MIGRATIONS))
"""The rooms that every party's schema has; its own comes after them."""


def rooms_of(kind: Kind) -> Rooms:
    """Give the rooms that own tables in the schema of a part, in the order in which their migrations run."""
    if kind is Kind.GATEWAY:
        return PLATFORM
    return (*PARTY, (kind.value, ksd.MIGRATIONS if kind is Kind.KSD else jobcenter.MIGRATIONS))


QUIET_ACTS: Final = frozenset({"health", "due", "clock", "obligations"})
"""Acts that change nothing; of `clock` a turn does, and the clock knows of that."""

CONNECT_SECONDS: Final = 10.0  # one attempt to reach the database: three hosts of which two swallow packets
RETRY_SECONDS: Final = 1.0
GARBAGE: Final = 20_000  # objects more than before, until rings among them are looked for
STOP_SECONDS: Final = 10.0  # what is being answered and sent has this long to end before it is handed back
LAST_SECONDS: Final = 1.0  # and the sending this long, though the answering took all of that
CRL_SECONDS: Final = 5.0  # a certificate that is revoked is refused within this time
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class Part(ABC):
    """One part of the whole: what runs as one process."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self._stack = AsyncExitStack()
        self._failure: asyncio.Future[None] | None = None
        self._server: Server | None = None
        self._tls: ssl.SSLContext | None = None
        self._stops_at = 0.0
        self.acts: Acts = {}  # what the control door offers, if there is one
        self.calls = 0
        self.answering = 0
        self._done = 0  # acts that may have changed something
        self._kept: tuple[object, Json] | None = None

    async def start(self) -> None:
        """Start everything; when something does not start, end what did and raise."""
        self._failure = asyncio.get_running_loop().create_future()
        try:
            listen = self.config.listen
            if listen.certificate is not None and listen.uds is None:
                self._tls = server_tls(
                    listen.certificate,
                    given(listen.key, "listen.key"),
                    given(listen.ca, "listen.ca"),
                    [listen.crl] if listen.crl is not None else [],
                )
            acts = await self._open(self._stack)
            if self.config.control is not None:
                own = {"health": self._health, "due": self._due, **offered({"clock": clock_act(self.clock)})}
                self.acts = self._watched(own | dict(acts))
                door = Door(self.acts, self.config.control)
                await door.start()
                self._stack.push_async_callback(door.stop)
        except BaseException:
            await self._stack.aclose()
            raise
        tell_supervisor("READY=1")
        LOG.info("part.started", extra={"part": self.config.part.value, "port": self.port, "version": __version__})

    async def stop(self) -> None:
        """Finish what has begun, hand back what was claimed, close: within about `STOP_SECONDS`."""
        tell_supervisor("STOPPING=1")
        self._stops_at = asyncio.get_running_loop().time() + STOP_SECONDS
        await self._stack.aclose()
        LOG.info("part.stopped", extra={"part": self.config.part.value})

    async def until_failed(self) -> None:
        """Wait for ever, or until some work that must never end has failed; raises its error."""
        if self._failure is not None:
            await asyncio.shield(self._failure)

    @property
    def port(self) -> int:
        """The port at which the part answers."""
        return self.config.listen.port if self._server is None else self._server.port

    @abstractmethod
    async def _open(self, stack: AsyncExitStack) -> Acts:
        """Open everything, each with its closing on the stack, and give the part's own acts."""

    async def _opened_store(self, stack: AsyncExitStack, rooms: Rooms) -> tuple[Store, Vault]:
        config = self.config
        vault = Vault.from_file(given(config.vault, "vault"))
        store = await open_store(given(config.database, "database"), rooms, now=self.clock.now())
        stack.push_async_callback(store.close)
        return store, vault

    def _lanes(self, *, lease: timedelta = lanes.LEASE) -> lanes.Lanes:
        # Time that is moved can be moved the same way again: so nothing in it is left to chance.
        spread = lanes.seeded_jitter(self.config.title) if isinstance(self.clock, MovableClock) else lanes.jitter
        return lanes.Lanes(lease=lease, jitter=spread)

    def _peers(self, stack: AsyncExitStack) -> Peers:
        listen = self.config.listen
        peers = Peers(trusted=listen.proxies, trust_unix=listen.uds is not None, tls=self._tls)
        if listen.crl is not None:
            peers.reload([listen.crl])
            watching = self._keep(watch(peers, listen.crl), "revocation list")
            stack.callback(watching.cancel)
        return peers

    async def _serve(self, stack: AsyncExitStack, app: App) -> None:
        listen = self.config.listen

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            self.calls += 1
            self.answering += 1
            try:
                await app(scope, receive, send)
            finally:
                self.answering -= 1

        self._server = Server(
            counted, host=listen.host, port=listen.port, uds=listen.uds, tls=self._tls, grace=STOP_SECONDS
        )
        await self._server.start()
        stack.push_async_callback(self._server.stop)

    def _keep(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run work that lasts as long as the part; its failure is the part's."""

        def ended(task: asyncio.Task[None]) -> None:
            failure = self._failure
            if task.cancelled() or failure is None or failure.done():
                return
            if (error := task.exception()) is not None:
                failure.set_exception(error)

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        return task

    def _watched(self, acts: Acts) -> Acts:
        """
        Note what is done at the door, and keep the answer of `due` for as long as nothing can have changed it.

        A timekeeper asks every part many times at every instant, and most have had nothing to do.
        """
        return {name: act if name in QUIET_ACTS else self._noted(act) for name, act in acts.items()} | {
            "due": self._remembered(acts["due"])
        }

    def _noted(self, act: Act) -> Act:
        async def noted(fields: Json) -> Json:
            self._done += 1
            try:
                return await act(fields)
            finally:
                self._done += 1

        noted.__doc__ = act.__doc__
        return noted

    def _remembered(self, due: Act) -> Act:
        async def remembered(fields: Json) -> Json:
            before = self._state()
            if before is not None and self._kept is not None and self._kept[0] == before:
                return self._kept[1]
            told = await due(fields)
            self._kept = None if before is None or before != self._state() or told["in_flight"] else (before, told)
            return told

        remembered.__doc__ = due.__doc__
        return remembered

    def _state(self) -> object | None:
        """Give what is the same as long as nothing happens in the part; None when something may at any moment."""
        still = self.clock.still if isinstance(self.clock, MovableClock) else None
        return None if still is None or self.answering else (still, self.calls, self._done)

    async def _due(self, _fields: Json) -> Json:
        """Say when something next happens by itself: never, in a part that only answers."""
        return {"next": None, "in_flight": 0, "parked": 0, "counters": {}}

    async def _health(self, _fields: Json) -> Json:
        """Say how the part is."""
        own = {"pid": os.getpid(), "port": self.port}
        return head(self.config.part.value, self.config.title, self.clock) | own


class GatewayPart(Part):
    """The platform: both services, and the worker that delivers."""

    async def _open(self, stack: AsyncExitStack) -> Acts:
        config = self.config
        store, vault = await self._opened_store(stack, PLATFORM)
        clients = Clients(own_tls(config), timeout=config.delivery.timeout)
        stack.push_async_callback(clients.close)
        environment = Environment(config.environment.value)
        carrier = Delivery(
            store=store,
            vault=vault,
            clock=self.clock,
            environment=environment,
            clients=clients,
            concurrency=config.delivery.concurrency,
            lanes=self._lanes(lease=timedelta(seconds=config.delivery.lease)),
        )
        gateway = Gateway(
            store=store,
            delivery=carrier,
            clients=clients,
            vault=vault,
            clock=self.clock,
            environment=environment,
            contact=config.contact,
            budget=config.delivery.budget,
        )
        if config.audit is not None:
            sealer = audit.Sealer(store, key=audit.read_key(config.audit.key), anchor=config.audit.anchor)
            sealing = self._keep(seal(sealer), "sealer")

            async def seal_the_rest() -> None:
                sealer.stop()
                await asyncio.wait((sealing,), timeout=STOP_SECONDS)
                sealing.cancel()

            stack.push_async_callback(seal_the_rest)
        working = self._keep(carrier.run(), "worker")

        async def rest() -> None:
            await carrier.stop(patience=max(LAST_SECONDS, self._stops_at - asyncio.get_running_loop().time()))
            await working

        stack.push_async_callback(rest)
        await self._serve(
            stack, HttpDoor(gateway.handlers, clock=self.clock, peers=self._peers(stack), contact=config.contact)
        )
        stack.callback(carrier.end)  # first of all: what is due from now on is for the other nodes

        async def health(fields: Json) -> Json:
            """Say how the gateway is, and how many messages have not ended."""
            return await self._health(fields) | await carrier.counts()

        async def due(_fields: Json) -> Json:
            """
            Say when something next happens by itself: `next`, or null.

            Also `in_flight`, what is being delivered or answered; `parked`, the lanes that wait for a person; and
            `counters`, numbers that only grow.
            """
            answering = self.answering  # before the rest: what a call has put in a lane by its end is seen there
            standing = await carrier.standing()
            return {
                "next": None if standing.next is None else standing.next.isoformat(),
                "in_flight": max(standing.in_flight, answering),  # an inline delivery is in both
                "parked": standing.parked,
                "counters": {"accepted": standing.messages, "attempts": standing.attempts, "calls": self.calls},
            }

        async def accepted(given: Fields) -> Json:
            """
            List the messages that were accepted, in the order in which they were.

            | field | |
            |---|---|
            | `after` | those after this `number` (0) |
            | `limit` | so many (1000) |
            """
            after, limit = given.number("after", 0, most=sys.maxsize), given.number("limit", 1000, most=10_000)
            given.done()
            return {"messages": [to_plain(row) for row in await carrier.accepted(after=after, limit=limit)]}

        async def owed(given: Fields) -> Json:
            """
            List what is owed, oldest first: business answers that have not come, and ends that nobody has heard of.

            | field | |
            |---|---|
            | `owner` | only of this system, by its id |
            | `municipality` | only of this municipality, by its CVR number |
            | `kind` | `unanswered_sf2090`, `unanswered_sf2093` or `unheard` |
            | `limit` | so many (1000) |
            """
            owner, municipality = given.find("owner", UUID), given.find("municipality", str)
            kind, limit = given.choice("kind", obligations.Kind), given.number("limit", 1000, most=10_000)
            given.done()
            found = await obligations.owed(store, owner=owner, municipality=municipality, kind=kind, limit=limit)
            now = self.clock.now()
            return {"obligations": [one.plain(now) for one in found]}

        return {"health": health, "due": due, **offered({"accepted": accepted, "obligations": owed})}


class AdminPart(Part):
    """The pages and the JSON for those who run the platform."""

    async def _open(self, stack: AsyncExitStack) -> Acts:
        from sygefravaer.admin import application  # noqa: PLC0415  FastAPI takes longer to load than all the rest

        await self._serve(stack, cast("App", application(self.config.parts, clock=self.clock)))
        return {}


class PartyPart(Part):
    """One of the two sides: a receiver, a client of the gateway, and what it does by itself."""

    async def _open(self, stack: AsyncExitStack) -> Acts:
        config = self.config
        kind = config.part
        store, vault = await self._opened_store(stack, rooms_of(kind))
        calls = Service.SYGEFRAVAER_JC if kind is Kind.KSD else Service.SYGEFRAVAER
        url = given(config.gateway_url, "gateway_url").rstrip("/") + calls.path
        client = await stack.enter_async_context(Client(url, service=calls, tls=own_tls(config)))
        party = self._party(store, vault, client, stack)
        await party.start()
        stack.push_async_callback(party.stop)
        await self._serve(stack, party.endpoint)

        async def health(fields: Json) -> Json:
            """Say how the part is, and what it has had and has to do."""
            return await self._health(fields) | await party.acts["health"]({})

        return dict(party.acts) | {"health": health}

    def _party(self, store: Store, vault: Vault, client: Client, stack: AsyncExitStack) -> Ksd | Jobcenter:
        config = self.config
        callers = config.listen.callers
        shared: dict[str, Any] = {
            "store": store,
            "vault": vault,
            "clock": self.clock,
            "client": client,
            "system_id": given(config.system_id, "system_id"),
            "environment": Environment(config.environment.value),
            "pinned": frozenset(callers) if callers else None,
            "peers": self._peers(stack),
            "name": config.title,
            "lanes": self._lanes(),
            "law": Law.standard() if config.law is None else Law.standard().replaced(config.law),
        }
        if config.part is Kind.KSD:
            return Ksd(**shared)
        return Jobcenter(municipalities=config.municipalities, **shared)


_BUILDERS: Final[Mapping[Kind, type[Part]]] = {
    Kind.GATEWAY: GatewayPart,
    Kind.ADMIN: AdminPart,
    Kind.KSD: PartyPart,
    Kind.JOBCENTER: PartyPart,
}


async def seal(sealer: audit.Sealer) -> None:
    """Seal until stopped. An anchor that cannot be written is an alarm in the log, and no reason to stop deliveries."""
    while True:
        try:
            return await sealer.run()
        except OSError as error:
            LOG.error("audit.anchor_failed", extra={"reason": error.strerror})  # noqa: TRY400  the reason says it all
            await asyncio.sleep(RETRY_SECONDS)


async def watch(peers: Peers, crl: Path) -> None:
    """Read a revocation list again whenever its file has changed; one that cannot be read changes nothing."""
    read = _changed_at(crl)
    while True:
        await asyncio.sleep(CRL_SECONDS)
        if (changed := _changed_at(crl)) == read:
            continue
        read = changed
        try:
            await asyncio.to_thread(peers.reload, [crl])
            LOG.info("crl.read", extra={"revoked": len(peers.revoked)})
        except UsageError as error:
            LOG.warning("crl.unreadable", extra={"code": error.code})


def _changed_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


SettingT = TypeVar("SettingT")


def given(setting: SettingT | None, name: str) -> SettingT:
    """Give a setting that this part cannot do without; raises UsageError."""
    if setting is None:
        raise UsageError("SettingMissing", f"The setting `{name}` is missing, and this part needs it.")
    return setting


def own_tls(config: Config) -> ssl.SSLContext:
    """Make what the part shows and trusts when it calls somebody."""
    client = given(config.client, "client")
    return client_tls(client.certificate, client.key, client.ca)


async def open_store(database: Database, rooms: Rooms, *, now: datetime) -> Store:
    """Reach the database, waiting for it if it is away, and bring the schema up to date."""
    loop = asyncio.get_running_loop()
    end = loop.time() + database.wait
    while True:
        store = Store(database.dsn, schema=database.schema, size=database.pool)
        try:
            await store.open(timeout=max(0.1, min(CONNECT_SECONDS, end - loop.time())))
            break
        except StoreUnavailable:
            await store.close()
            if loop.time() + RETRY_SECONDS > end:
                raise
            LOG.warning("database.away", extra={"schema": database.schema, "seconds_left": round(end - loop.time())})
            await asyncio.sleep(RETRY_SECONDS)
    try:
        done = await migrate(store, rooms, now=now)
    except BaseException:
        await store.close()
        raise
    if done:
        LOG.info("database.migrated", extra={"schema": database.schema, "migrations": done})
    return store


def build(config: Config, clock: Clock | None = None) -> Part:
    """Build the part that the settings describe; nothing connects yet."""
    return _BUILDERS[config.part](config, clock or clock_of(config))


def clock_of(config: Config) -> Clock:
    """Give the clock that the settings ask for."""
    if config.clock is Time.SYSTEM:
        return SystemClock()
    return MovableClock(datetime.now(UTC) + timedelta(seconds=config.clock_ahead))


def main(config: Config, *, with_parent: bool = False) -> None:
    """Run one part in this process until SIGTERM or SIGINT."""
    start_logging()
    if failpoint.arm() and config.environment is Surroundings.PRODUCTION:
        raise UsageError("FailpointInProduction", f"{failpoint.VARIABLE} is set, and this is production.")
    if with_parent:
        end_with_parent()
    uvloop.run(run(config))


async def run(config: Config) -> None:
    """Start the part, and end it in good order when SIGTERM or SIGINT asks; raise what made it fail."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    part = build(config)
    if not await _unless(part.start(), asked):
        return
    _let_garbage_lie()
    try:
        await _unless(part.until_failed(), asked)
    finally:
        await part.stop()


def _let_garbage_lie() -> None:
    """Look for rings of objects less often than Python does by itself, and never among what stays until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


async def _unless(work: Coroutine[Any, Any, None], asked: asyncio.Event) -> bool:
    """Do the work unless the end is asked for first; say whether it was done."""
    doing, ending = asyncio.create_task(work), asyncio.create_task(asked.wait())
    try:
        await asyncio.wait((doing, ending), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
            return True
        return False
    finally:
        for task in (doing, ending):
            task.cancel()
        await asyncio.gather(doing, ending, return_exceptions=True)


def end_with_parent() -> None:
    """Be killed by the system when the process that started this one ends, however it ends (Linux)."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise UsageError("Interrupted", "The process that started this one has ended.")
