# SPDX-License-Identifier: MPL-2.0
"""
Sandkasse in the browser: a real sandbox, seen and steered through a site that knows its control doors.

The site has the people of the house, so nobody signs in twice; what it shows and does is the sandbox's.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from corridor import message
from screens.stage import LONG, PATIENCE, Never, Stage, State
from sygefravaer.admin.screens.sandbox.doors import SCREEN
from sygefravaer.admin.screens.site import Site
from sygefravaer.control import knock
from sygefravaer.endpoint import Server
from sygefravaer.sandbox.parts import PARTS, Layout
from sygefravaer.sandbox.supervisor import Sandbox
from sygefravaer.store import EmbeddedServer

CITIZENS = 3
PATH = SCREEN.path
expect.set_options(timeout=PATIENCE)


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Layout]:
    """Run a sandbox, and a site that knows its doors."""
    place = Path(tempfile.mkdtemp(prefix="sf-"))
    layout = Layout(place / "sandbox")
    try:
        async with Sandbox(layout, port=0, admin_port=0, say=lambda _: None, count=CITIZENS).running():
            doors = {name: layout.socket(name) for name in (*(spec.name for spec in PARTS), "supervisor")}
            site = Site(doors, clock=stage.clock, office=stage.desk.office)
            server = Server(site, grace=0.2)
            await server.start()
            stage.elsewhere[PATH] = stage.elsewhere["/live"] = server.url.replace("127.0.0.1", "localhost")
            try:
                yield layout
            finally:
                site.close()
                await server.stop()
        await EmbeddedServer(layout.database).remove()
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def up(stage: Stage) -> Layout:
    """Give the sandbox of the house, once its opening conversation is over."""
    if not hasattr(stage, "sandbox"):
        stage.sandbox = await stage.until_closed(running(stage))  # type: ignore[attr-defined]
        while (await ask(stage.sandbox, "supervisor", "status"))["conversation"] == "running":
            await asyncio.sleep(0.2)
    return stage.sandbox


async def ask(layout: Layout, part: str, act: str, /, **fields: Any) -> dict[str, Any]:
    return await knock(layout.socket(part), act, fields, timeout=60.0)


async def refused(page: Page) -> None:
    """Ask for a day that is past."""
    await page.fill("#to", "2020-01-01")
    await page.click("text=Flyt til dagen")


async def long_reason(page: Page) -> None:
    """Type codes that are too long for any list."""
    await page.fill("#one-ksd", LONG)
    await page.fill("#other-ksd", LONG)
    await page.locator("#one-ksd").locator("xpath=ancestor::form").locator("button").click()


STATES = {
    "empty": State(path=f"{PATH}/borgere?after=1000", sees="text=Der er ingen borgere på denne side.", prepare=up),
    "loading": Never("A part that does not answer is named as away within some seconds; a move shows its progress."),
    "filled": State(path=PATH, sees=".clock-now", prepare=up),
    "error": State(path=PATH, sees="text=Det blev ikke gjort", prepare=up, then=refused),
    "forbidden": State(path=f"{PATH}/jobcenter/ksd", sees="text=Siden findes ikke", prepare=up, status=404),
    "long": State(path=f"{PATH}/kaos", sees="text=Det blev ikke gjort", prepare=up, then=long_reason),
    "zoom": State(path=f"{PATH}/ksd", sees="table", prepare=up),
}


async def test_an_extension_is_asked_for_and_answered(stage: Stage):
    """A person creates a case in KSD, asks, answers in the jobcentre, and sees the case extended; then ends it."""
    layout = await up(stage)
    await ask(layout, "viborg", "policy", extensions="manual")
    now = datetime.fromisoformat((await ask(layout, "ksd", "clock"))["now"])
    page = await stage.page(f"{PATH}/ksd")
    viborg = page.locator("#citizen option", has_text="(Viborg)").first
    await page.select_option("#citizen", await viborg.get_attribute("value"))
    await page.fill("#first", (now - timedelta(weeks=20)).date().isoformat())
    await page.click("#create")
    await expect(page.locator(".alert-success")).to_contain_text("Sagen er oprettet")
    case = page.url.partition("?")[0]
    await page.fill("#form", now.date().isoformat())
    await page.click("#change")
    await expect(page.locator("#state")).to_have_text("Oplysningsskema er modtaget")
    assert await page.locator("#ask").is_disabled()

    sags_id = case.rpartition("/")[2]
    await eventually(lambda: knows(layout, sags_id))
    await ask(layout, "viborg", "visit", sags_id=sags_id)
    await expect(page.locator("#state")).to_have_text("Løbende sag")  # by itself
    await page.goto(case)
    await page.click("#ask")
    await expect(page.locator("#state")).to_have_text("Sagen er til revurdering")

    await eventually(lambda: waits(layout, sags_id))
    await page.click("nav >> text=Jobcenter Viborg")
    letter = page.locator(".letter", has_text=sags_id)
    await letter.get_by_role("button", name="Bevilg forlængelse").click()
    await expect(page.locator(".alert-success")).to_contain_text("Svaret er sendt til KSD.")
    await expect(page.locator(".letter", has_text=sags_id)).to_have_count(0)

    await page.goto(case)
    await expect(page.locator("#state")).to_have_text("Sagen er forlænget")  # by itself, if it was not yet
    await page.click("#end")
    await expect(page.locator("#state")).to_have_text("Sagen er afsluttet")
    assert await page.locator("#reopen").is_enabled()


async def test_the_clock_is_advanced_22_weeks_while_a_case_is_watched(stage: Stage):
    """The clock says how far it is; the page of a case follows by itself, with nobody touching it."""
    layout = await up(stage)
    before = datetime.fromisoformat((await ask(layout, "ksd", "clock"))["now"])
    [citizen, *_] = (await ask(layout, "supervisor", "citizens", numbers=True))["citizens"]
    first = (before - timedelta(weeks=5)).date().isoformat()
    where = citizen["municipality_cvr"]
    case = await ask(layout, "ksd", "create_case", cpr=citizen["cpr"], municipality_cvr=where, FoersteFravaersdag=first)
    watched = await stage.page(f"{PATH}/ksd/{case['sags_id']}")
    await expect(watched.locator("#state")).to_have_text("Anmeldt fra NemRefusion")

    page = await stage.page(PATH)
    await page.click("text=22 uger frem")
    await expect(page.locator(".clock-bar")).to_contain_text("Senest flyttet fra")
    await expect(watched.locator("#state")).not_to_have_text("Anmeldt fra NemRefusion")
    await expect(watched.locator(".clock-bar")).to_contain_text("Senest flyttet fra")

    after = datetime.fromisoformat((await ask(layout, "ksd", "clock"))["now"])
    assert after - before >= timedelta(weeks=22)


async def test_the_page_of_a_case_asks_the_parts_what_they_hold(stage: Stage):
    """Beside what went through the gateway stands what KSD and the jobcentre say of the case, and what is to come."""
    layout = await up(stage)
    [held, *_] = [one for one in (await ask(layout, "ksd", "cases"))["cases"] if one["state"] != "AFSLUTTET"]
    case = await ask(layout, "ksd", "case", sags_id=held["sags_id"])
    event = message(
        "SendHaendelseSygefravaerssag", cvr=case["municipality_cvr"], NemrefusionsID=case["nemrefusions_id"]
    )
    await stage.corridor.send("SendHaendelseSygefravaerssag", event)
    stage.elsewhere["/sag"] = stage.elsewhere[PATH]
    try:
        page = await stage.page(f"/sag/{case['nemrefusions_id']}")
    finally:
        del stage.elsewhere["/sag"]

    await expect(page.locator("[aria-labelledby='told-ksd']")).to_contain_text(case["state"])
    jobcentre = "[aria-labelledby='told-viborg'], [aria-labelledby='told-aarhus']"
    await expect(page.locator(jobcentre)).to_contain_text("Jobcentersagens status")


async def test_a_scenario_is_played_line_by_line(stage: Stage):
    """Chosen from the list, its timeline grows by itself, and in the end all that must hold does."""
    await up(stage)
    page = await stage.page(f"{PATH}/scenarier")
    alone = page.get_by_role("button", name="Spil det", disabled=True).first
    why = await page.locator(f"#{await alone.get_attribute('aria-describedby')}").text_content()
    assert "vil have en scene for sig" in why

    await page.click("[id='play-14-sagsart-10']")
    await expect(page.locator(".timeline li").first).to_be_visible()
    await expect(page.locator("#timeline .ok")).to_contain_text("alle 3 kontroller holdt")


async def test_a_part_is_killed_and_started_and_a_receipt_is_lost(stage: Stage):
    """The table says how each part is; a switch says in words what is wrong until it is taken back."""
    layout = await up(stage)
    page = await stage.page(PATH)
    aarhus = page.locator("tr", has_text="Jobcenter Aarhus")
    if await aarhus.get_by_role("button", name="Start").count():
        await aarhus.get_by_role("button", name="Start").click()
    await aarhus.get_by_role("button", name="Dræb").click()
    await expect(aarhus).to_contain_text("Død")
    await aarhus.get_by_role("button", name="Start").click()
    await expect(aarhus).to_contain_text("Kører")
    await expect(page.locator("tr", has_text="Administration")).to_contain_text("Det er den, der viser denne side.")

    await page.click("nav >> text=Kaos")
    section = page.locator("section", has=page.locator("#chaos-aarhus"))
    await section.get_by_role("button", name="Tab én kvittering").click()
    await expect(section).to_contain_text("de næste 1 kald udføres og afbrydes uden kvittering")
    assert (await ask(layout, "aarhus", "chaos"))["close_after_apply"] == 1
    await section.get_by_role("button", name="Lad den opføre sig ordentligt igen").click()
    await expect(section).to_contain_text("Opfører sig ordentligt.")


async def test_whoever_is_not_signed_in_sees_nothing(stage: Stage):
    """He is led to sign in; a form without the session's token changes nothing."""
    layout = await up(stage)
    page = await stage.page(PATH, who=None)
    assert "/login" in page.url

    signed_in = await stage.page(PATH)
    before = await ask(layout, "supervisor", "clock")
    told = await signed_in.request.post(page.url.partition("/login")[0] + f"{PATH}/ur", form={"by": "22w"})
    assert told.status == 403
    assert (await ask(layout, "supervisor", "clock"))["moving"] is before["moving"] is False


async def knows(layout: Layout, sags_id: str) -> bool:
    cases = (await ask(layout, "viborg", "cases"))["cases"]
    return any(one["sags_id"] == sags_id for case in cases for one in case["sygedagpengesager"])


async def waits(layout: Layout, sags_id: str) -> bool:
    return any(one["sags_id"] == sags_id for one in (await ask(layout, "viborg", "inbox"))["extensions"])


async def eventually(true: Any) -> None:
    async with asyncio.timeout(PATIENCE / 1000):
        while not await true():
            await asyncio.sleep(0.2)
