# SPDX-License-Identifier: MPL-2.0
"""Beskeder in the browser."""

from __future__ import annotations

from uuid import uuid4

from corridor import VIBORG, message
from screens.stage import LONG, Never, Stage, State, unreadable

EVENT = "SendHaendelseSygefravaerssag"


async def parked(stage: Stage, **fields: object) -> int:
    """Let a message be parked, since its receiver cannot read it; give its number."""
    envelope = message(EVENT, cvr=VIBORG, NemrefusionsID=uuid4(), **fields)
    receiver = stage.corridor.receivers["viborg"]
    receiver.raw = unreadable
    await stage.corridor.send(EVENT, envelope)
    row = await stage.corridor.until(envelope, "parked")
    receiver.raw = None
    return int(row["message_id"])


async def long_view(stage: Stage) -> None:
    """Keep a view with a name of one long word."""
    page = await stage.page("/beskeder?tilstand=parked", who="olga")
    await page.get_by_text("Gemte visninger").click()
    await page.locator("#navn").fill(LONG[:80])
    await page.get_by_role("button", name="Gem visningen").click()
    await page.get_by_text("Visningen er gemt.").wait_for()
    await stage.close_pages()


STATES = {
    "empty": State(path="/beskeder", sees=".empty", who="frida"),
    "loading": Never("The list is drawn at once: its statement reads fifty rows of an index."),
    "filled": State(path="/beskeder", sees="#rows tbody tr", prepare=Stage.fill),
    "error": State(path="/beskeder?borger=00000000-0000-0000-0000-000000000001", sees=".alert-error", status=404),
    "forbidden": State(path="/beskeder/afspil", sees=".alert-error", who="viggo", status=403),
    "long": State(
        path="/beskeder",
        sees=".views li >> visible=true",
        who="olga",
        prepare=long_view,
        then=lambda page: page.get_by_text("Gemte visninger").click(),
    ),
    "zoom": State(path="/beskeder?vis=aarsager", sees="#faults", prepare=Stage.fill),
}


async def test_a_parked_message_is_found_and_replayed(stage):
    """From the groups by cause to the message, its plan, and back: it goes again and arrives."""
    number = await parked(stage)
    page = await stage.page("/beskeder?vis=aarsager")

    await page.locator("#faults").get_by_role("link", name="Client").first.click()
    await page.locator("#rows").get_by_role("link", name=str(number), exact=True).click()
    await page.locator("#replay").click()
    await page.locator("#plan").get_by_text("Sendes igen").first.wait_for()
    await page.get_by_role("button", name="Send igen").click()
    await page.get_by_text("Beskeden er sendt igen").wait_for()
    stage.corridor.work()
    row = await _until(stage, number, "delivered")

    assert row["status"] == "delivered"
    assert stage.corridor.receivers["viborg"].came[-1] == row["besked_id"]
    (told,) = await stage.desk.record("event = 'message.replayed' AND besked_id = %(id)s", id=row["besked_id"])
    assert told["detail"]["by"] == "Otto"
    assert page.complaints == []


async def _until(stage: Stage, number: int, status: str):
    import asyncio

    async with asyncio.timeout(30):
        while True:
            (row,) = await stage.corridor.rows("message", "message_id = %(n)s", n=number)
            if row["status"] == status:
                return row
            await asyncio.sleep(0.05)


async def test_a_group_is_proposed_for_another_person_to_confirm(stage):
    """One proposes what the plan showed; nothing is sent, and another one confirms it."""
    number = await parked(stage)
    page = await stage.page(f"/beskeder/afspil?aarsag=Client&kommune={VIBORG}")

    await page.locator("#plan").get_by_role("link", name=str(number), exact=True).wait_for()
    await page.locator("#begrundelse").fill("Modtageren er rettet")
    await page.get_by_role("button", name="Foreslå afspilning").click()
    await page.get_by_text("Afspilningen er foreslået").wait_for()

    (row,) = await stage.corridor.rows("message", "message_id = %(n)s", n=number)
    (kept,) = await stage.corridor.rows("proposal", "reason = 'Modtageren er rettet'")
    assert row["status"] == "parked"
    assert (kept["kind"], kept["status"], kept["name"]) == ("replay", "open", "Otto")


async def test_the_keys_go_from_message_to_message(stage):
    """Down and up within the list, Enter opens; beside the list the keys mean nothing."""
    await stage.fill()
    page = await stage.page("/beskeder")
    rows = page.locator("[data-row]")
    await page.keyboard.press("j")
    assert await rows.evaluate_all("all => all.indexOf(document.activeElement)") == -1

    await rows.first.focus()
    await page.keyboard.press("j")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("k")

    assert await rows.evaluate_all("all => all.indexOf(document.activeElement)") == 1
    number = await rows.nth(1).inner_text()
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/besked/{number}")


async def test_the_list_follows_what_happens(stage):
    """A message that comes is there without anybody asking."""
    await stage.fill()
    page = await stage.page("/beskeder")
    before = await page.locator("[data-row]").first.inner_text()

    await stage.corridor.send(EVENT, message(EVENT, cvr=VIBORG))

    await page.wait_for_function("old => document.querySelector('[data-row]').textContent !== old", arg=before)


async def test_a_citizen_is_looked_for_with_a_purpose_and_in_no_address(stage):
    """The number is in no address and not on the page; who looked, and that there was a purpose, is on record."""
    await stage.fill()
    envelope = message(EVENT, cvr=VIBORG)
    number = next(envelope.iter("{*}Hoved")).findtext("{*}CprNummer")
    page = await stage.page("/beskeder", who="viggo")
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))

    await page.get_by_text("Find en borgers beskeder").click()
    await page.locator("#nummer").fill(number)
    await page.locator("#formaal").fill("Borgeren har spurgt")
    await page.get_by_role("button", name="Find", exact=True).click()
    await page.get_by_text("Listen viser én borgers beskeder").wait_for()

    assert await page.locator("[data-row]").count() > 0
    assert not any(number in one for one in addresses)
    assert number not in await page.content()
    (told,) = await stage.desk.record("event = 'message.searched'")
    assert told["cpr_key"] == stage.vault.lookup_key(number)
    assert (told["municipality_cvr"], "purpose" in told["detail"]) == (VIBORG, True)
