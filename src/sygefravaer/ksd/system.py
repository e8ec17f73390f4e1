# SPDX-License-Identifier: MPL-2.0
"""
One KSD, put together: what it answers, what it sends, its control acts.

The look-ups' hot path is two statements: the read, and the row in the access log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from sygefravaer.client import Client
from sygefravaer.clock import Clock
from sygefravaer.contract.operations import Environment
from sygefravaer.contract.operations import Service as Exposed
from sygefravaer.control import Act
from sygefravaer.endpoint import Chaos, Endpoint, Peers
from sygefravaer.ksd.acts import Acts
from sygefravaer.ksd.agenda import Agenda
from sygefravaer.ksd.case_acts import CaseActs
from sygefravaer.ksd.cases import Cases
from sygefravaer.ksd.casework import Casework
from sygefravaer.ksd.lookups import Lookups
from sygefravaer.ksd.opening import Seeding
from sygefravaer.ksd.overview import Overview
from sygefravaer.ksd.policy import Policies, Policy
from sygefravaer.ksd.reckoning import Reckoning
from sygefravaer.ksd.reports import Reports
from sygefravaer.ksd.sending import Outbox
from sygefravaer.ksd.service import Service
from sygefravaer.lanes import Lanes, Pump
from sygefravaer.law import Law
from sygefravaer.ledger import Ledger
from sygefravaer.store import Store
from sygefravaer.vault import Vault

GRACE: Final = 5.0
"""Seconds of machine time that a stop waits for posts under way."""


class Ksd:
    """
    The sickness-benefit case system of all municipalities.

    `store` is open and has the tables of the rooms `lanes`, `ledger` and `ksd`. `client` calls the gateway's service
    SygefravaerJC. `pinned` are the serial keys of the only callers let in, the gateway's certificate; `None` lets in
    everybody whom TLS lets in. `policy` is how it behaves until an act says otherwise, which is then kept. `law` is
    what it judges and counts by. `endpoint` is an ASGI application, `acts` go to a control door.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        clock: Clock,
        client: Client,
        system_id: UUID,
        environment: Environment,
        pinned: frozenset[str] | None = None,
        peers: Peers | None = None,
        policy: Policy | None = None,
        path: str | None = None,
        name: str = "ksd",
        lanes: Lanes | None = None,
        law: Law | None = None,
    ) -> None:
        law = law or Law.standard()
        lanes = lanes or Lanes()
        cases, chaos = Cases(vault), Chaos()
        self._policies = Policies(store, lanes, policy or Policy())
        outbox = Outbox(
            vault=vault,
            clock=clock,
            client=client,
            lanes=lanes,
            system_id=system_id,
            environment=environment,
            written=chaos.swapped,
        )
        reckoning = Reckoning(cases, law)
        casework = Casework(cases, outbox, reckoning, lambda: self._policies.current.habits)
        reports = Reports(
            store=store,
            vault=vault,
            clock=clock,
            cases=cases,
            casework=casework,
            law=law,
            holds=lambda: self._policies.current.hold_reports,
        )
        self._pump = Pump(store, lanes, outbox.deliver, clock=clock, settled=outbox.settled)
        self._agenda = Agenda(
            store=store,
            clock=clock,
            cases=cases,
            casework=casework,
            law=law,
            reports=reports,
            sent=self._pump.wake,
        )
        self._pumping: asyncio.Task[None] | None = None
        self._minding: asyncio.Task[None] | None = None
        lookups = Lookups(store, vault, cases, now=clock.now, takes_substitutes=self._policies.takes_substitutes)
        service = Service(
            vault=vault,
            clock=clock,
            ledger=Ledger(store, vault, clock),
            cases=cases,
            casework=casework,
            takes_substitutes=self._policies.takes_substitutes,
            follows_on=lambda: self._policies.current.follow_on,
            law=law,
            wake=self._wake,
        )
        self.endpoint = Endpoint(
            Exposed.SYGEFRAVAER,
            {
                "SendForretningsSvar": chaos.around(service.event_answer),
                "SendForretningsSvarForlaengelse": chaos.around(service.extension_answer),
                "SendOpdateringFravaer": chaos.around(service.update),
                "HentSag": chaos.around(lookups.case),
                "HentSagsListe": chaos.around(lookups.cases),
            },
            clock=clock,
            path=path,
            environment=environment,
            pinned=pinned,
            peers=peers,
        )
        self.acts: Mapping[str, Act] = Acts(
            name=name,
            store=store,
            clock=clock,
            lanes=lanes,
            pump=self._pump,
            agenda=self._agenda,
            reports=reports,
            overview=Overview(store, vault, cases, casework, law=law, system_id=system_id, now=clock.now),
            policies=self._policies,
            chaos=chaos,
            seeding=Seeding(store=store, clock=clock, cases=cases, casework=casework, law=law),
            on_cases=CaseActs(
                store=store,
                clock=clock,
                cases=cases,
                casework=casework,
                reports=reports,
                wake=self._wake,
                law=law,
            ),
            wake=self._wake,
        ).table

    async def start(self) -> None:
        """Take up the policy that was kept, and begin to send."""
        await self._policies.load()
        self._pumping = asyncio.create_task(self._pump.run())
        self._minding = asyncio.create_task(self._agenda.run())

    async def stop(self) -> None:
        """Send nothing more; what is being posted has a while to end, and goes again after a restart otherwise."""
        if self._pumping is None or self._minding is None:
            return
        self._minding.cancel()
        self._pump.stop()
        _, late = await asyncio.wait({self._pumping}, timeout=GRACE)
        for task in late:
            task.cancel()
        await asyncio.gather(self._pumping, self._minding, return_exceptions=True)
        self._pumping = self._minding = None

    def _wake(self) -> None:
        self._agenda.wake()
        self._pump.wake()
