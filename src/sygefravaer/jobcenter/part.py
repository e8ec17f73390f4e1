# SPDX-License-Identifier: MPL-2.0
"""One jobcentre system, put together: what it answers, sends and does by itself, and its control acts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from sygefravaer.client import Client
from sygefravaer.clock import Clock
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.contract.values import MUNICIPALITIES
from sygefravaer.control import Act
from sygefravaer.endpoint import Chaos, Endpoint, Peers
from sygefravaer.errors import UsageError
from sygefravaer.jobcenter.acts import Acts
from sygefravaer.jobcenter.agenda import Agenda
from sygefravaer.jobcenter.answering import Answering
from sygefravaer.jobcenter.cases import Register
from sygefravaer.jobcenter.inbox import Inbox
from sygefravaer.jobcenter.policy import Policy
from sygefravaer.jobcenter.rooms import Rooms
from sygefravaer.jobcenter.sending import Outbox
from sygefravaer.jobcenter.service import Reception
from sygefravaer.jobcenter.telling import Telling
from sygefravaer.jobcenter.writing import Writer
from sygefravaer.lanes import Lanes, Pump
from sygefravaer.law import Law
from sygefravaer.ledger import Ledger
from sygefravaer.store import Store
from sygefravaer.vault import Vault

GRACE: Final = 5.0
"""Seconds of machine time that a stop waits for posts under way."""


class Jobcenter:
    """A jobcentre system for one municipality or several.

    `store` has the tables of the rooms `lanes`, `ledger` and `jobcenter`, and is open. `client` calls the gateway's
    service Sygefravaer and is open. `municipalities` are CVR numbers as text. `pinned` are the serial keys of the
    only callers let in: the gateway's callback certificate; `None` lets everybody in that TLS lets in. `policy` is
    how it answers by itself until an act says otherwise, which is then kept. `endpoint` is an ASGI application,
    `acts` go to a control door.
    """

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        clock: Clock,
        client: Client,
        system_id: UUID,
        municipalities: Collection[str],
        environment: Environment,
        policy: Policy | None = None,
        pinned: frozenset[str] | None = None,
        peers: Peers | None = None,
        path: str | None = None,
        name: str = "jobcenter",
        lanes: Lanes | None = None,
        law: Law | None = None,
    ) -> None:
        law = law or Law.standard()
        unknown = [cvr for cvr in municipalities if cvr not in MUNICIPALITIES]
        if unknown or not municipalities:
            raise UsageError(
                "MunicipalityUnknown",
                f"{len(unknown) or 'No'} of the municipalities given is not one of the 98.",
                try_this="Give CVR numbers of municipalities.",
            )
        self._store = store
        self._clock = clock
        self._grace = GRACE
        self._pumping: asyncio.Task[None] | None = None
        self._minding: asyncio.Task[None] | None = None
        lanes = lanes or Lanes()
        register = Register(vault, law)
        inbox = Inbox(register)
        chaos = Chaos()
        outbox = Outbox(
            vault=vault,
            clock=clock,
            client=client,
            lanes=lanes,
            inbox=inbox,
            register=register,
            written=chaos.swapped,
        )
        self._register = register
        self._answering = Answering(
            register=register,
            inbox=inbox,
            outbox=outbox,
            writer=Writer(system_id=system_id),
            policy=policy or Policy(),
            law=law,
        )
        telling = Telling(register=register, outbox=outbox, writer=self._answering.writer, law=law)
        self._agenda = Agenda(
            store=store,
            clock=clock,
            client=client,
            register=register,
            inbox=inbox,
            answering=self._answering,
            telling=telling,
            law=law,
            sent=self._wake_pump,
        )
        self._pump = Pump(store, lanes, outbox.deliver, clock=clock, settled=outbox.settled)
        reception = Reception(
            ledger=Ledger(store, vault, clock),
            clock=clock,
            register=register,
            inbox=inbox,
            answering=self._answering,
            telling=telling,
            law=law,
            municipalities=municipalities,
            wake=self._wake,
        )
        self.endpoint = Endpoint(
            Service.SYGEFRAVAER_JC,
            {
                "SendHaendelseSygefravaerssag": chaos.around(reception.haendelse),
                "SendAnmodningForlaengelse": chaos.around(reception.anmodning),
            },
            clock=clock,
            path=path,
            environment=environment,
            pinned=pinned,
            peers=peers,
        )
        self.acts: Mapping[str, Act] = Acts(
            Rooms(
                name=name,
                store=store,
                clock=clock,
                client=client,
                environment=environment,
                municipalities=frozenset(municipalities),
                lanes=lanes,
                register=register,
                inbox=inbox,
                outbox=outbox,
                answering=self._answering,
                telling=telling,
                law=law,
                agenda=self._agenda,
                pump=self._pump,
                chaos=chaos,
            )
        ).table

    async def start(self) -> None:
        """Begin to send and to do by itself what is due."""
        async with self._store.read() as tx:
            kept = await self._register.kept_policy(tx)
        if kept is not None:
            self._answering.policy = Policy.of_json(json.loads(kept))
        if self._answering.follows:
            async with self._store.tx() as tx:  # it may have been started with another policy than before
                await self._register.deeds.look_at_all(tx, self._clock.now())
        self._pumping = asyncio.create_task(self._pump.run())
        self._minding = asyncio.create_task(self._agenda.run())

    async def stop(self) -> None:
        """End both loops; what is being posted has a while to end, and is repeated after a restart if it does not."""
        if self._pumping is None or self._minding is None:
            return
        self._minding.cancel()
        self._pump.stop()
        _, late = await asyncio.wait({self._pumping}, timeout=self._grace)
        for task in late:
            task.cancel()
        await asyncio.gather(self._pumping, self._minding, return_exceptions=True)

    def _wake(self) -> None:
        self._agenda.wake()
        self._pump.wake()

    def _wake_pump(self) -> None:
        self._pump.wake()
