# SPDX-License-Identifier: MPL-2.0
"""The two sides: KSD and a jobcentre."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from sygefravaer.app.opening import given, own_tls
from sygefravaer.app.part import Acts, Part
from sygefravaer.app.rooms import rooms_of
from sygefravaer.client import Client
from sygefravaer.config import Kind
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.control import Json
from sygefravaer.jobcenter import Jobcenter
from sygefravaer.ksd import Ksd
from sygefravaer.law import Law
from sygefravaer.store import Store
from sygefravaer.vault import Vault


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
