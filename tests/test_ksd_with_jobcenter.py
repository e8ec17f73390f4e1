# SPDX-License-Identifier: MPL-2.0
"""The two reference systems with nothing between them: what one says the other takes, and they agree in the end."""

import asyncio
import logging
import secrets
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

    def __init__(self, ksd: Ksd, jobcenter: Jobcenter, clock, stores) -> None:
        self.ksd, self.jobcenter, self.clock, self.stores = ksd, jobcenter, clock, stores

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
        stores = {name: await make_store("lanes", "ledger", name, size=6) for name in ("ksd", "jobcenter")}
        for name, service in (("ksd", Service.SYGEFRAVAER_JC), ("jobcentre", Service.SYGEFRAVAER)):
            own = client_tls(tls[name].certificate, tls[name].key, pki.ca)
            clients[name] = Client("https://localhost/", service=service, tls=own, timeout=5.0)
            stack.push_async_callback(clients[name].close)
        shared = {"vault": vault, "clock": clock, "environment": Environment.TEST}
        parties["ksd"] = Ksd(
            store=stores["ksd"],
            client=clients["ksd"],
            system_id=UUID(int=0xA),
            pinned=frozenset({tls["jobcentre"].serial_key}),
            **shared,
        )
        parties["jobcentre"] = Jobcenter(
            store=stores["jobcenter"],
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
        yield Pair(parties["ksd"], parties["jobcentre"], clock, tuple(stores.values()))


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


async def test_nothing_personal_is_left_where_it_can_be_read(pair, caplog):
    """A whole life, with a refusal and a new number: no number, name, reason or user in a table, a log or an act."""
    caplog.set_level(logging.DEBUG)
    word, new_cpr = f"w{secrets.token_hex(6)}", "0201505103"
    ksd, jobcentre = pair.ksd.acts, pair.jobcenter.acts
    await jobcentre["policy"]({"extensions": "manual"})
    await ksd["seed"]({"cases": [CASE | {"Arbejdsgiver": {"Navn": word}}]})
    asked = await ksd["ask_extension"]({"sags_id": SAGS_ID})
    await pair.quiet()
    await jobcentre["answer_extension"](
        {"anmodning_id": asked["anmodning_id"], "code": "AFVIST", "Begrundelse": f"{word} {word}"}
    )
    given = {"sags_id": SAGS_ID, "Opdateringstype": ["STANDBY"], "checked": False}
    await jobcentre["update"](given | {"with_sags_id": False, "with_nemrefusions_id": False})
    await jobcentre["update"](given | {"cpr": new_cpr})  # O403
    await jobcentre["lookup_list"]({"cpr": CPR, "user": word})
    await jobcentre["citizen"]({"cpr": CPR, "fact": "known"})
    await pair.quiet()
    await ksd["change_cpr"]({"cpr": CPR, "new_cpr": new_cpr})
    await pair.quiet()
    shown = [
        await jobcentre["lookup_case"]({"sags_id": SAGS_ID, "history": True, "user": word}),
        await jobcentre["case"]({"sags_id": SAGS_ID}),
        await ksd["case"]({"sags_id": SAGS_ID}),
        *[await acts[name]({}) for acts in (ksd, jobcentre) for name in ("health", "cases", "messages", "tasks")],
        await ksd["lookups"]({}),
        await jobcentre["inbox"]({}),
    ]
    assert (await ksd["tasks"]({}))["tasks"]
    assert (await jobcentre["tasks"]({}))["tasks"]
    numbers = (CPR, new_cpr)
    assert not [number for number in numbers if number in str(shown)]
    for store in pair.stores:
        async with store.read() as tx:
            tables = await tx.all(
                "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema"
            )
            for table in tables:
                lines = str([row["line"] for row in await tx.all(f"SELECT t::text AS line FROM {table['name']} t")])
                for secret in (word, *numbers):
                    assert secret not in lines, table["name"]
                    assert secret.encode().hex() not in lines, table["name"]
    said = caplog.text + str([{**vars(record)} for record in caplog.records])
    assert not [secret for secret in (word, *numbers) if secret in said]


async def test_ksd_takes_what_a_diligent_jobcentre_tells(pair):
    """Visitation, talks and exemption by themselves, one due instant after the other: nothing is refused."""
    await pair.jobcenter.acts["policy"]({"follow_up": "diligent"})
    case = CASE | {"FoersteFravaersdag": "2026-01-26", "ForventetRaskmeldingsdato": "2026-06-10"}
    await pair.ksd.acts["seed"]({"cases": [case | {"RevurderingsDato": "2026-08-31"}]})
    await pair.quiet()
    for _ in range(4):
        due = (await pair.jobcenter.acts["due"]({}))["next"]
        if due is None or due > "2026-04-01":
            break
        await pair.jobcenter.acts["clock"]({"now": due})
        await pair.quiet()
    shown = await pair.ksd.acts["case"]({"sags_id": SAGS_ID})
    here = await pair.jobcenter.acts["case"]({"sags_id": SAGS_ID})
    assert [deed["what"] for deed in here["deeds"]] == ["visitation", "follow-up", "exemption"]
    assert (await pair.jobcenter.acts["tasks"]({}))["tasks"] == []
    assert (shown["picture"]["Visitationskategori"], here["kategori"]) == ("2", "2")
    assert here["state"] == "UDEN_OPFOELGNING"
