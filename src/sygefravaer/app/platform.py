# SPDX-License-Identifier: MPL-2.0
"""The platform's parts: the gateway with the worker that delivers, its administration, and the prober."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

from sygefravaer import (
    advice,
    audit,
    delivery,
    mail,
    status,
    usage,
)
from sygefravaer.app.opening import RETRY_SECONDS, given, open_store, own_tls
from sygefravaer.app.part import READY_SECONDS, STOP_SECONDS, Acts, Part
from sygefravaer.app.rooms import PLATFORM
from sygefravaer.contract.operations import Environment
from sygefravaer.contract.plain import to_plain
from sygefravaer.contract.values import Cpr
from sygefravaer.control import Fields, Json, offered
from sygefravaer.delivery import Clients, Delivery, obligations
from sygefravaer.endpoint import App, HttpDoor
from sygefravaer.errors import Refused, StoreError, UsageError
from sygefravaer.gateway import Gateway
from sygefravaer.store import Store
from sygefravaer.telemetry import Reading
from sygefravaer.vault import Vault

LOG: Final = logging.getLogger(__name__)
LAST_SECONDS: Final = 1.0  # and the sending this long, though the answering took all of that


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


async def seal(sealer: audit.Sealer) -> None:
    """Seal until stopped. An anchor that cannot be written is an alarm in the log, and no reason to stop deliveries."""
    while True:
        try:
            return await sealer.run()
        except OSError as error:
            LOG.error("audit.anchor_failed", extra={"reason": error.strerror})  # noqa: TRY400  the reason says it all
            await asyncio.sleep(RETRY_SECONDS)


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
