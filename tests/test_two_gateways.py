# SPDX-License-Identifier: MPL-2.0
"""One message at two gateways at once: accepted once, applied once, and answered with the same bytes for ever after."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest
from lxml import etree

from corridor import Corridor, another, besked_id, fine, message
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.delivery import Clients, Delivery
from sygefravaer.endpoint import HttpDoor, Server
from sygefravaer.errors import Refused
from sygefravaer.gateway import Gateway
from sygefravaer.lanes import Lanes
from sygefravaer.store import Store

EVENT = "SendHaendelseSygefravaerssag"
COPIES = 6


@contextlib.asynccontextmanager
async def second_gateway(corridor):
    """A gateway of its own on the same database: other connections, other clients, another door."""
    store = Store(corridor.store._pool.conninfo, schema=corridor.store.schema, size=4)
    await store.open()
    clients = Clients(corridor.tls("callback"), timeout=5.0)
    shared = {"store": store, "vault": corridor.vault, "clock": corridor.clock, "environment": Environment.TEST}
    delivery = Delivery(clients=clients, lanes=Lanes(jitter=lambda: 1.0), **shared)
    gateway = Gateway(delivery=delivery, clients=clients, budget=10, **shared)
    server = Server(
        HttpDoor(gateway.handlers, clock=corridor.clock, peers=corridor.peers), tls=corridor._tls("platform"), grace=0.2
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        await delivery.stop(patience=0.2)
        await clients.close()
        await store.close()


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, budget=10, lanes=Lanes(jitter=lambda: 1.0)) as made:
        yield made


@pytest.mark.parametrize("refused", [False, True])
async def test_copies_at_two_gateways_have_one_effect_and_later_one_receipt(corridor, refused):
    """Meanwhile each is told the receipt or that delivery is under way; the same key with other content is G002."""

    async def answer(call):
        await asyncio.sleep(0.2)
        if refused:
            raise Refused("G001", "Haendelsestype")
        return await fine(call)

    jobcentre = corridor.receivers["viborg"]
    jobcentre.answer = answer
    one = message(EVENT)
    final = "FEJL" if refused else "OK"
    async with second_gateway(corridor) as other:
        doors = [corridor.server, other]

        async def send(door, envelope):
            url = door.url + Service.SYGEFRAVAER_JC.path
            async with corridor.sessions["ksd"].post(
                url, data=etree.tostring(envelope), headers={"Content-Type": "text/xml; charset=utf-8"}
            ) as response:
                return await response.read()

        await corridor.send(EVENT, message(EVENT))  # makes KSD's session
        before = len(jobcentre.calls)
        told = await asyncio.gather(*(send(door, one) for door in doors for _ in range(COPIES)))
        await corridor.until(one, "refused" if refused else "delivered")
        later = [await send(door, one) for door in doors for _ in range(2)]
        changed = [await send(door, another(one, KorrelationsID=besked_id(one))) for door in doors]

    kinds = Counter(etree.fromstring(each).findtext(".//{*}TransportValideringsKode") for each in told)
    assert set(kinds) <= {final, "ADVARSEL"}
    assert kinds[final] >= 1
    assert jobcentre.came[before:] == [besked_id(one)]
    assert len(set(later)) == 1
    assert {each for each in told if b"ADVARSEL" not in each} == set(later)
    assert all(b"G002" in each for each in changed)
    assert len(await corridor.rows("message", "besked_id = %(id)s", id=besked_id(one))) == 1
    assert (
        len(await corridor.rows("audit", "event = 'message.accepted' AND besked_id = %(id)s", id=besked_id(one))) == 1
    )
