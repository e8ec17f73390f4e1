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
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import uvloop
from cryptography import x509

from sygefravaer import (
    __version__,
    admin,
    advice,
    agreements,
    audit,
    delivery,
    failpoint,
    jobcenter,
    ksd,
    lanes,
    ledger,
    mail,
    status,
    usage,
)
from sygefravaer.client import Client, client_tls
from sygefravaer.clock import Clock, MovableClock, SystemClock
from sygefravaer.config import Config, Database, Kind, Surroundings, Time, Unknown
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.contract.plain import to_plain
from sygefravaer.contract.values import Cpr
from sygefravaer.control import Act, Door, Fields, Json, clock_act, head, offered
from sygefravaer.delivery import SEALED, Clients, Delivery, obligations
from sygefravaer.endpoint import App, HttpDoor, Peers, Server, Watch, server_tls
from sygefravaer.errors import Refused, StoreError, StoreUnavailable, UsageError
from sygefravaer.gateway import Gateway
from sygefravaer.jobcenter import Jobcenter
from sygefravaer.ksd import Ksd
from sygefravaer.law import Law
from sygefravaer.revocation import Revocation, read_authorities
from sygefravaer.store import Sealed, Store, migrate
from sygefravaer.telemetry import Handing, Metrics, Reading, Tracer, Tracing, start_logging, tell_supervisor
from sygefravaer.vault import KeySource, Vault

LOG: Final = logging.getLogger(__name__)

Rooms = tuple[tuple[str, tuple[str, ...]], ...]
Acts = Mapping[str, Act]

PLATFORM: Final[Rooms] = (
    ("agreements", agreements.MIGRATIONS),
    ("audit", audit.MIGRATIONS),
    ("lanes", lanes.MIGRATIONS),
    ("delivery", delivery.MIGRATIONS),
    ("admin", admin.MIGRATIONS),
    ("status", status.MIGRATIONS),
    ("mail", mail.MIGRATIONS),
    ("usage", usage.MIGRATIONS),
)
"""The rooms that own tables in the platform's schema, in the order in which their migrations run."""

PARTY: Final[Rooms] = (("lanes", lanes.MIGRATIONS), ("ledger", ledger.MIGRATIONS))
"""The rooms that every party's schema has; its own comes after them."""


def rooms_of(kind: Kind) -> Rooms:
    """Give the rooms that own tables in the schema of a part, in the order in which their migrations run."""
    if kind in {Kind.GATEWAY, Kind.ADMIN, Kind.PROBER}:
        return PLATFORM
    return (*PARTY, (kind.value, ksd.MIGRATIONS if kind is Kind.KSD else jobcenter.MIGRATIONS))


def sealed_of(kind: Kind) -> tuple[Sealed, ...]:
    """Give every sealed column in the schema of a part."""
    if kind is Kind.GATEWAY:
        return (*SEALED, *audit.SEALED, *admin.SEALED)
    return ksd.SEALED if kind is Kind.KSD else jobcenter.SEALED


QUIET_ACTS: Final = frozenset({"health", "due", "clock", "obligations"})
"""Acts that change nothing; of `clock` a turn does, and the clock knows of that."""

CONNECT_SECONDS: Final = 10.0  # one attempt to reach the database: three hosts of which two swallow packets
RETRY_SECONDS: Final = 1.0
GARBAGE: Final = 20_000  # objects more than before, until rings among them are looked for
STOP_SECONDS: Final = 10.0  # what is being answered and sent has this long to end before it is handed back
READY_SECONDS: Final = 2.0  # a database that has not answered by then does not count as there
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
        told = config.telemetry
        self.metrics = None if told is None else Metrics(part=config.part.value, version=__version__)
        self.tracer: Tracer = Handing()
        self.watch_port = 0  # where metrics and health are shown, while they are
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
            self._trace(self._stack)
            acts = await self._open(self._stack)
            await self._show(self._stack)
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

    def _trace(self, stack: AsyncExitStack) -> None:
        """Send spans to a collector, if the settings name one."""
        told = self.config.telemetry
        if told is not None and told.traces is not None:
            self.tracer = Tracing(service=f"sygefravaer-{self.config.part.value}", export=told.traces)
            stack.push_async_callback(asyncio.to_thread, self.tracer.close)

    async def _show(self, stack: AsyncExitStack) -> None:
        """Show metrics and health on a listener of their own, if the settings name one."""
        told = self.config.telemetry
        if self.metrics is not None and told is not None and told.port is not None:
            shown = Watch(self.metrics, readings=self.readings, checks=self.checks)
            watch = Server(shown, host=told.host, port=told.port, grace=READY_SECONDS)
            await watch.start()
            self.watch_port = watch.port
            stack.push_async_callback(watch.stop)

    async def readings(self) -> list[Reading]:
        """Read the gauges."""
        client = self.config.client
        used = {"listen": self.config.listen.certificate, "client": None if client is None else client.certificate}
        return [Reading(name="answering", value=self.answering)] + [
            Reading(name="certificate_seconds", value=_seconds_left(path), labels={"use": use})
            for use, path in used.items()
            if path is not None
        ]

    async def checks(self) -> Mapping[str, bool]:
        """Say what must be so for the part to be asked."""
        return {"taking_calls": not self._stops_at}

    @abstractmethod
    async def _open(self, stack: AsyncExitStack) -> Acts:
        """Open everything, each with its closing on the stack, and give the part's own acts."""

    async def _opened_store(self, stack: AsyncExitStack, rooms: Rooms) -> tuple[Store, Vault]:
        config = self.config
        vault = open_vault(config)
        store = await open_store(given(config.database, "database"), rooms, now=self.clock.now())
        stack.push_async_callback(store.close)
        return store, vault

    def _signing(self, stack: AsyncExitStack) -> bytes | None:
        """Sign what this part writes to the record, as long as it runs; give the key, if the settings name one."""
        key = None if self.config.audit is None else audit.read_key(self.config.audit.key)
        stack.callback(audit.sign_with, audit.sign_with(key))
        return key

    def _lanes(self, *, lease: timedelta = lanes.LEASE) -> lanes.Lanes:
        # Time that is moved can be moved the same way again: so nothing in it is left to chance.
        spread = lanes.seeded_jitter(self.config.title) if isinstance(self.clock, MovableClock) else lanes.jitter
        return lanes.Lanes(lease=lease, jitter=spread)

    def _peers(self, stack: AsyncExitStack) -> Peers:
        listen = self.config.listen
        watching = revocation_watch(self.config)
        peers = Peers(trusted=listen.proxies, trust_unix=listen.uds is not None, tls=self._tls, revocation=watching)
        if watching is not None:
            stack.callback(self._keep(watching.run(), "revocation").cancel)
        if listen.crl is not None:
            peers.reload([listen.crl])
            stack.callback(self._keep(watch(peers, listen.crl), "revocation list").cancel)
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

    _opened: tuple[Store, Delivery] | None = None

    async def _open(self, stack: AsyncExitStack) -> Acts:
        config = self.config
        key = self._signing(stack)
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
            metrics=self.metrics,
            lanes=self._lanes(lease=timedelta(seconds=config.delivery.lease)),
        )
        self._opened = store, carrier
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
        if config.audit is not None and key is not None:
            sealer = audit.Sealer(store, key=key, anchor=config.audit.anchor)
            sealing = self._keep(seal(sealer), "sealer")

            async def seal_the_rest() -> None:
                sealer.stop()
                await asyncio.wait((sealing,), timeout=STOP_SECONDS)
                sealing.cancel()

            stack.push_async_callback(seal_the_rest)
        for name, work in self._beside(store, vault):
            stack.callback(self._keep(work, name).cancel)
        working = self._keep(carrier.run(), "worker")

        async def rest() -> None:
            await carrier.stop(patience=max(LAST_SECONDS, self._stops_at - asyncio.get_running_loop().time()))
            await working

        stack.push_async_callback(rest)
        await self._serve(
            stack,
            HttpDoor(
                gateway.handlers,
                clock=self.clock,
                peers=self._peers(stack),
                contact=config.contact,
                metrics=self.metrics,
                tracer=self.tracer,
            ),
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

    async def readings(self) -> list[Reading]:
        """Read the gauges, those of the database too."""
        if self._opened is None:
            return await super().readings()
        store, carrier = self._opened
        found = [*await super().readings(), *await carrier.readings()]
        async with store.read() as tx:
            rows, oldest = await audit.unsealed(tx)
            found.append(Reading(name="mails_waiting", value=await mail.waiting(tx)))
        sealed = self.config.audit is not None
        age = max(0.0, (self.clock.now() - oldest).total_seconds()) if sealed and oldest is not None else 0.0
        return [*found, Reading(name="unsealed", value=rows), Reading(name="unsealed_oldest_seconds", value=age)]

    async def checks(self) -> Mapping[str, bool]:
        """Say what must be so for the gateway to be asked: it also reaches its database."""
        found = dict(await super().checks())
        try:
            if self._opened is not None:
                async with asyncio.timeout(READY_SECONDS), self._opened[0].read() as tx:
                    await tx.one("SELECT 1 AS one")
            found["database"] = self._opened is not None
        except (StoreError, TimeoutError):
            found["database"] = False
        return found

    def _beside(self, store: Store, vault: Vault) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Give the work that no call waits for: counting use, looking for what to tell, sending mail."""
        config, environment = self.config, Environment(self.config.environment.value)
        mails = config.mail
        if config.audit is not None:  # what is not sealed has no number to count by
            yield "usage", usage.Counter(store, self.clock).run()
        parked = delivery.Parked(store=store, vault=vault, environment=environment)
        operator = None if mails is None else mails.operator
        lookout = advice.Lookout(store, parked, environment=environment, clock=self.clock, operator=operator)
        yield "advice", lookout.run()
        if mails is not None:
            yield "mail", mail.Postman(store, mail.Server.of(mails), every=mails.every).run()


class ProberPart(Part):
    """Measures the service from outside, as a registered system, and writes the status record."""

    async def _open(self, stack: AsyncExitStack) -> Acts:
        config = self.config
        wanted = given(config.probe, "probe")
        store = await open_store(given(config.database, "database"), PLATFORM, now=self.clock.now())
        stack.push_async_callback(store.close)
        prober = status.Prober(
            store=store,
            clock=self.clock,
            environment=Environment(config.environment.value),
            target=status.Target(
                gateway=given(config.gateway_url, "gateway_url"),
                system_id=given(config.system_id, "system_id"),
                municipality=wanted.municipality,
                number=probe_number(wanted.number),
                tls=own_tls(config),
                patience=wanted.timeout,
            ),
            by=config.title,
            every=wanted.every,
        )
        stack.callback(self._keep(prober.run(), "prober").cancel)
        return {}


def probe_number(text: str | None) -> Cpr | None:
    """Read the number of which the prober asks; raises `UsageError`, which does not show it."""
    try:
        return None if text is None else Cpr.parse(text)
    except Refused:
        raise UsageError("SettingWrong", "The setting `probe.number` is no personal number: ten digits.") from None


class AdminPart(Part):
    """The pages and the JSON for those who run the platform."""

    async def _open(self, stack: AsyncExitStack) -> Acts:
        from sygefravaer.admin import building  # noqa: PLC0415  FastAPI takes longer to load than all the rest
        from sygefravaer.admin.screens.site import Site  # noqa: PLC0415

        office = None
        if self.config.database is not None:
            self._signing(stack)
            store, vault = await self._opened_store(stack, PLATFORM)
            office = await building.office_for(self.config, store, vault, self.clock)
        site = Site(self.config.parts, clock=self.clock, office=office)
        await self._serve(stack, cast("App", site))
        stack.callback(site.close)  # before the server waits for what is being answered
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
        party.endpoint.door.metrics, party.endpoint.door.tracer = self.metrics, self.tracer
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
    Kind.PROBER: ProberPart,
}


def _seconds_left(path: Path) -> float:
    """Say for how long a certificate is valid still; one that cannot be read for no time."""
    try:
        [first, *_] = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return 0.0
    return (first.not_valid_after_utc - datetime.now(UTC)).total_seconds()


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


def revocation_watch(config: Config) -> Revocation | None:
    """Build what knows which certificates are revoked, with what an earlier process has kept; None: not asked for."""
    wanted = config.revocation
    if wanted is None:
        return None
    made = Revocation(
        authorities=read_authorities(given(config.listen.ca, "listen.ca")),
        cache=wanted.cache,
        lists=wanted.lists,
        responders=wanted.responders,
        every=wanted.every,
        patience=wanted.timeout,
        admit_unknown=wanted.unknown is Unknown.ADMIT,
    )
    made.load()
    return made


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


def key_source(config: Config) -> KeySource:
    """Give where the key comes from that opens the vault."""
    told = config.vault_key
    return KeySource() if told is None else KeySource(file=told.file, command=told.command)


def open_vault(config: Config) -> Vault:
    """Open the vault that the settings name."""
    return Vault.from_file(given(config.vault, "vault"), key_source(config))


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
    if config.clock_at is None:
        return MovableClock(datetime.now(UTC) + timedelta(seconds=config.clock_ahead))
    return MovableClock(config.clock_at.astimezone(UTC), held=True)


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
