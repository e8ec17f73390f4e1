# SPDX-License-Identifier: MPL-2.0
"""Log og indsigt in the browser: searched with a purpose, a report taken out, the chain verified."""

from __future__ import annotations

from pathlib import Path

from desk import VIBORG
from screens.stage import LONG, Never, Stage, State
from sygefravaer import audit
from sygefravaer.audit import Event, Sealer

CITIZEN = "0101375001"


async def looked_up(stage: Stage) -> None:
    """Let the record tell of a look-up, with a reason that is long."""
    async with stage.store.tx() as tx:
        await audit.record(
            tx,
            Event.LOOKUP_ASKED,
            now=stage.clock.now(),
            municipality_cvr=VIBORG,
            operation="HentSag",
            cpr_key=stage.vault.lookup_key(CITIZEN),
            reason=LONG,
        )


async def search(page) -> None:
    """Search without any wish."""
    await page.click("#soeg")


async def search_and_open(page) -> None:
    """Search, and open the last row."""
    await page.click("#soeg")
    await page.locator("tbody summary").last.click()


async def without_purpose(page) -> None:
    """Search for a citizen without saying why."""
    await page.fill("#citizen", CITIZEN)
    await page.click("#soeg")


async def search_for_nothing(page) -> None:
    """Search for what is not there."""
    await page.select_option("#event", "key.retired")
    await page.click("#soeg")


STATES = {
    "empty": State(path="/log", sees=".empty", who="frida", then=search_for_nothing),
    "loading": Never("A search is a page that is sent; what takes long is the verification, which has a test."),
    "filled": State(path="/log", sees="section:has(#fundet) table", then=search),
    "error": State(path="/log", sees=".alert-error", then=without_purpose),
    "forbidden": State(path="/log", sees="h1:has-text('Det må du ikke')", who="vera", status=403),
    "long": State(path="/log", sees="td details[open]", who="viggo", prepare=looked_up, then=search_and_open),
    "zoom": State(path="/log", sees="section:has(#fundet) table", then=search),
}


async def test_a_citizens_rows_and_report_are_had_with_a_purpose(stage):
    """The number is in no address; the look is a row; the report is a file that the browser takes."""
    await looked_up(stage)
    page = await stage.page("/log", who="viggo")
    await page.fill("#citizen", CITIZEN)
    await page.fill("#purpose", "klage fra borgeren")
    await page.keyboard.press("Enter")
    await page.locator("td:has-text('HentSag')").first.wait_for()
    assert page.url == f"{stage.url}/log"
    assert CITIZEN not in await page.content()

    await page.get_by_role("link", name="Indsigt", exact=True).click()
    await page.fill("#citizen", CITIZEN)
    await page.fill("#purpose", "artikel 15")
    async with page.expect_download() as caught:
        await page.click("#json")
    download = await caught.value
    told = Path(await download.path()).read_text("utf-8")

    assert download.suggested_filename == "indsigt.json"
    assert '"Viborg"' in told
    assert CITIZEN not in told
    rows = await stage.desk.record("event = 'audit.reported'")
    assert [row["cpr_key"] for row in rows] == [stage.vault.lookup_key(CITIZEN)]
    assert page.complaints == []


async def test_the_chain_is_verified_before_ones_eyes(stage):
    """The page says how far it is, and then what was found, without a click."""
    await Sealer(stage.store, key=stage.key, anchor=stage.tmp / "anchors").seal()
    page = await stage.page("/log/kontrol", who="ada")
    await page.click("#kontroller")
    await page.get_by_role("heading", name="Loggen er, som den blev skrevet").wait_for()

    assert "rækker læst" in await page.locator("#kontrol").inner_text()
    assert page.complaints == []
