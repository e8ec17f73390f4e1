# SPDX-License-Identifier: MPL-2.0
"""Ruter in the browser: a change by two persons, and the map that shows it."""

from __future__ import annotations

from uuid import uuid4

from corridor import SYSTEMS
from screens.stage import LONG, Never, Stage, State
from sygefravaer import agreements
from sygefravaer.contract.operations import Service
from sygefravaer.identity import from_der

ODENSE, VALLENSBAEK = "35209115", "19583910"


async def long_address(stage: Stage) -> None:
    """Let a route lead to a system with a long name at a long address."""
    now = stage.clock.now()
    async with stage.store.tx() as tx:
        system = await stage.long_system(tx)
        await agreements.set_route(
            tx,
            route_id=uuid4(),
            service=Service.SYGEFRAVAER_JC,
            municipality_cvr=VALLENSBAEK,
            system_id=system,
            url=f"https://127.0.0.1/{LONG}",
            valid_from=now.date(),
            now=now,
        )


async def without_an_address(page) -> None:
    """Ask for a system whose address nobody knows."""
    await page.select_option("#municipality", ODENSE)
    await page.select_option("#system", str(SYSTEMS["ksd"]))
    await page.click("#vis-plan")


STATES = {
    "empty": State(path="/ruter", sees=".empty", who="frida"),
    "loading": Never("Map and tables are a few statements, drawn with the page; a test call ends within ten seconds."),
    "filled": State(path="/ruter", sees="svg[role=img]"),
    "error": State(path="/ruter/ny", sees=".alert-error", then=without_an_address),
    "forbidden": State(path="/ruter/ny", sees="h1:has-text('Det må du ikke')", who="ada", status=403),
    "long": State(path=f"/ruter?kommune={VALLENSBAEK}", sees="td.address", prepare=long_address),
    "zoom": State(path="/ruter", sees="svg[role=img]"),
}


async def test_two_persons_change_a_route(stage):
    """One sees what it does and proposes; he cannot confirm; the other one can, and the map shows it without a click."""
    one = await stage.page("/ruter", who="otto")
    other = await stage.page("/ruter", who="olga")
    tile = other.locator("svg[role=img] g:has-text('Odense')")
    before = await tile.locator("title").text_content()
    await one.get_by_role("link", name="Foreslå en ændring").click()
    await one.select_option("#municipality", ODENSE)
    await one.select_option("#system", str(SYSTEMS["viborg"]))
    await one.click("#vis-plan")
    await one.get_by_text("ingen åben sag mærker ændringen").wait_for()
    await one.fill("#reason", "Odense skifter system")
    await one.click("#foreslaa-knap")
    await one.get_by_text("Forslaget er stillet.").wait_for()
    assert await one.locator("#bekraeft").is_disabled()
    assert (await one.locator("#bekraeft-why").inner_text()).startswith("Du har selv foreslået det.")

    second = await stage.page("/forslag", who="olga")
    await second.get_by_role("link", name="Rute: SygefravaerJC for Odense til viborg").click()
    assert await second.locator("tr.new").inner_text() != ""
    await second.click("#bekraeft")
    await second.get_by_text("Forslaget er bekræftet og udført.").wait_for()
    await tile.locator("title:has-text('Odense: viborg')").wait_for(state="attached")

    assert before == "Odense: ingen rute"
    rows = await stage.desk.record(
        "starts_with(event, 'proposal.') AND detail #>> '{asked,municipality}' = %(cvr)s", cvr=ODENSE
    )
    assert [row["detail"]["by"] for row in rows] == [str(stage.accounts["otto"]), str(stage.accounts["olga"])]
    assert one.complaints == other.complaints == second.complaints == []


async def test_a_call_is_explained_rule_by_rule(stage):
    """Which certificate, which operation, which municipality: each rule with what was found, and what would be needed."""
    certificate = from_der(stage.corridor.issued["viborg"].der).thumbprint
    page = await stage.page(f"/ruter/forklar?kommune={VALLENSBAEK}&certifikat={certificate}", who="otto")
    await page.select_option("#snitflade", "HentSag")
    await page.get_by_role("button", name="Forklar kaldet").click()
    await page.get_by_text("Kaldet bliver afvist (ServiceAgreementNotFound)").wait_for()
    rules = await page.locator(".checks li > strong").all_inner_texts()

    assert rules == ["Ja:", "Ja:", "Ja:", "Nej:"]
    assert await page.locator(".checks [lang=en]").count() == 0
    assert "Leverandøren anmoder om en aftale om servicen" in await page.locator(".checks").inner_text()
