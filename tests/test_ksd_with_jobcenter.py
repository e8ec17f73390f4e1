# SPDX-License-Identifier: MPL-2.0
"""The two reference systems with nothing between them: what one says the other takes, and they agree in the end."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

import pytest

from sygefravaer.client import Client, client_tls
from sygefravaer.contract.operations import Environment, Service
from sygefravaer.endpoint import Server, server_tls
from sygefravaer.jobcenter import Jobcenter
from sygefravaer.ksd import Ksd

VIBORG, CPR = "29189846", "0101505006"
SAGS_ID = str(UUID(int=7))
CASE = {
    "cpr": CPR,
    "municipality_cvr": VIBORG,
    "sags_id": SAGS_ID,
    "nemrefusions_id": str(UUID(int=8)),
    "state": "LOEBENDE",
    "FoersteFravaersdag": "2025-11-10",
    "RevurderingsDato": "2026-04-30",
}


class Pair:
    """KSD and a jobcentre on one clock."""

    def __init__(self, ksd: Ksd, jobcenter: Jobcenter, clock) -> None:
        self.ksd, self.jobcenter, self.clock = ksd, jobcenter, clock

    async def quiet(self) -> None:
        """Wait until neither has anything to do now, twice over."""
        still = 0
        async with asyncio.timeout(20):
            while still < 3:
                await asyncio.sleep(0.02)
                told = [await party.acts["due"]({}) for party in (self.ksd, self.jobcenter)]
                now = self.clock.now().isoformat()
                busy = any(one["in_flight"] or (one["next"] is not None and one["next"] <= now) for one in told)
                still = 0 if busy else still + 1

    async def pass_days(self, days: int) -> None:
        """Let days go by, in steps in which both can act."""
        for _ in range(days):
            self.clock.advance(timedelta(days=1))
            await self.quiet()

    async def request(self) -> str:
        """Say where the first request for extension stands."""
        return (await self.ksd.acts["case"]({"sags_id": SAGS_ID}))["requests"][0]["status"]


@pytest.fixture
async def pair(make_store, vault, clock, pki):
    async with AsyncExitStack() as stack:
        tls = {name: pki.issue(name, "19435075") for name in ("ksd", "jobcentre")}
        parties, clients = {}, {}
        for name, service in (("ksd", Service.SYGEFRAVAER_JC), ("jobcentre", Service.SYGEFRAVAER)):
            own = client_tls(tls[name].certificate, tls[name].key, pki.ca)
            clients[name] = Client("https://localhost/", service=service, tls=own, timeout=5.0)
            stack.push_async_callback(clients[name].close)
        shared = {"vault": vault, "clock": clock, "environment": Environment.TEST}
        parties["ksd"] = Ksd(
            store=await make_store("lanes", "ledger", "ksd", size=6),
            client=clients["ksd"],
            system_id=UUID(int=0xA),
            pinned=frozenset({tls["jobcentre"].serial_key}),
            **shared,
        )
        parties["jobcentre"] = Jobcenter(
            store=await make_store("lanes", "ledger", "jobcenter", size=6),
            client=clients["jobcentre"],
            system_id=UUID(int=0xB),
            municipalities=(VIBORG,),
            pinned=frozenset({tls["ksd"].serial_key}),
            **shared,
        )
        for name, caller in (("ksd", "jobcentre"), ("jobcentre", "ksd")):
            own, party = tls[name], parties[name]
            server = Server(party.endpoint, tls=server_tls(own.certificate, own.key, pki.ca), grace=1.0)
            await server.start()
            stack.push_async_callback(server.stop)
            clients[caller].url = f"https://localhost:{server.port}{clients[caller].service.path}"
            await party.start()
            stack.push_async_callback(party.stop)
        yield Pair(parties["ksd"], parties["jobcentre"], clock)


async def test_a_case_lives_and_ends_between_the_two(pair):
    """Told, accepted, asked about, extended, ended: every event has its final answer, and nothing waits for a person."""
    await pair.ksd.acts["seed"]({"cases": [CASE]})
    await pair.quiet()
    await pair.ksd.acts["ask_extension"]({"sags_id": SAGS_ID})
    await pair.quiet()
    for _ in range(20):
        if await pair.request() != "open":
            break
        await pair.pass_days(1)
    await pair.ksd.acts["end_case"]({"sags_id": SAGS_ID})
    await pair.quiet()
    await pair.pass_days(1)

    shown = await pair.ksd.acts["case"]({"sags_id": SAGS_ID})
    messages = (await pair.ksd.acts["messages"]({}))["messages"]
    assert {each["status"] for each in messages} == {"delivered"}
    events = [each for each in messages if each["operation"] == "SendHaendelseSygefravaerssag"]
    assert [each["final"] for each in events] == ["ACCEPTERET"] * len(events)
    assert (await pair.ksd.acts["tasks"]({}))["tasks"] == []
    assert (await pair.jobcenter.acts["tasks"]({}))["tasks"] == []
    assert shown["state"] == "AFSLUTTET"
    assert [each["status"] for each in shown["requests"]] == ["decided"]
    assert shown["picture"]["Forlaengelse"]
    found = await pair.jobcenter.acts["lookup_case"]({"sags_id": SAGS_ID, "user": "test"})
    assert "AFSLUTTET" in str(found)
