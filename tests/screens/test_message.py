# SPDX-License-Identifier: MPL-2.0
"""Besked in the browser."""

from __future__ import annotations

from uuid import uuid4

from corridor import VIBORG, message
from screens.stage import LONG, Never, Stage, State
from screens.test_messages import EVENT, parked


async def first(page) -> None:
    """Open the newest message of the list."""
    await page.locator("[data-row]").first.click()


async def one_parked(stage: Stage) -> None:
    """Let a message be parked."""
    await parked(stage)


async def refused(page) -> None:
    """Give a message up with a reason that holds a number, and long words."""
    await first(page)
    await page.locator("#begrundelse").fill(f"1234567890 {LONG}")
    await page.get_by_role("button", name="Opgiv").click()


async def contents(page) -> None:
    """Open what the newest message says."""
    await first(page)
    await page.get_by_role("link", name="Vis indhold").click()


STATES = {
    "empty": Never("A message that is not there is no page; one without attempts says so in its place."),
    "loading": Never("The page is drawn at once from one message's rows."),
    "filled": State(path="/beskeder?tilstand=parked", sees="#attempts", prepare=one_parked, then=first),
    "error": State(path="/beskeder?tilstand=parked", sees=".alert-error", prepare=one_parked, then=refused),
    "forbidden": State(path="/besked/999999999", sees=".alert-error", who="frida", status=404),
    "long": State(path="/beskeder?tilstand=parked", sees="#sent", prepare=one_parked, then=contents),
    "zoom": State(path="/beskeder?tilstand=parked", sees="#sent", prepare=one_parked, then=contents),
}


async def test_a_citizens_number_is_revealed_with_a_reason(stage):
    """Masked at first, both ends; refused without a reason; shown with one, which is on record before."""
    envelope = message(EVENT, cvr=VIBORG, NemrefusionsID=uuid4())
    number = next(envelope.iter("{*}Hoved")).findtext("{*}CprNummer")
    await stage.corridor.send(EVENT, envelope)
    row = await stage.corridor.until(envelope, "delivered")
    page = await stage.page(f"/besked/{row['message_id']}", who="viggo")

    await page.get_by_role("link", name="Vis indhold").click()
    await page.locator("#sent").wait_for()
    assert number not in await page.content()
    assert await page.get_by_text("Gyldig efter skemaet").count() == 3
    assert await page.get_by_text("elementet sendes videre, som det kom").count() == 1
    await page.locator("#formaal").fill("12345678 er et nummer")
    await page.get_by_role("button", name="Vis det skjulte").click()
    await page.locator(".alert-error").wait_for()
    assert number not in await page.content()
    await page.locator("#formaal").fill("Borgeren klager over fristen")
    await page.get_by_role("button", name="Vis det skjulte").click()
    await page.locator("#revealed").wait_for()

    assert number in await page.locator("#sent").inner_text()
    assert number in await page.locator("#delivered").inner_text()
    assert number not in page.url
    told = await stage.desk.record("besked_id = %(id)s AND event LIKE 'message.%%ed'", id=row["besked_id"])
    looks = [one["event"] for one in told if one["event"] in {"message.viewed", "message.revealed"}]
    assert looks == ["message.viewed", "message.viewed", "message.revealed"]
    assert "klager" not in str(told)
    assert page.complaints == []


async def test_the_decision_is_shown_and_the_call_can_be_copied(stage):
    """Which certificate, agreement and route let it in; and the same call as curl, for SoapUI and with the SDK."""
    envelope = message("SendOpdateringFravaer", caller="viborg")
    await stage.corridor.send("SendOpdateringFravaer", envelope)
    row = await stage.corridor.until(envelope, "delivered")
    page = await stage.page(f"/besked/{row['message_id']}")

    card = page.locator("dl[aria-labelledby='decision']")
    assert "viborg" in await card.inner_text()
    assert "Alle regler er opfyldt" in await card.inner_text()
    await page.get_by_role("link", name="Vis indhold").click()
    for name in ("curl", "SoapUI", "Python"):
        await page.get_by_text(f"Kopiér som {name}").click()
    shown = await page.locator("#copy-curl").inner_text()
    assert "https://GATEWAY/" in shown
    assert "**********" in shown
    source = await page.locator("#copy-python").inner_text()
    compile(source, "copied", "exec")


async def test_a_vendor_sees_how_a_message_of_his_stands_and_not_what_it_says(stage):
    """And of somebody else's nothing: the page is that of a message which is not there."""
    number = await parked(stage)
    page = await stage.page(f"/besked/{number}", who="vera")
    await page.locator("#attempts").wait_for()
    assert await page.get_by_role("link", name="Vis indhold").count() == 0
    assert await page.locator("#replay").is_disabled()
    answer = await page.goto(f"{stage.url}/besked/{number}/indhold")
    assert answer.status == 403

    foreign = await stage.page(f"/besked/{number}", who="frida")
    assert foreign.answered.status == 404


async def test_a_message_is_given_up_with_a_reason(stage):
    """Its sender has to hear of it."""
    number = await parked(stage)
    page = await stage.page(f"/besked/{number}")

    await page.locator("#begrundelse").fill("Sagen er oprettet igen")
    await page.get_by_role("button", name="Opgiv").click()
    await page.get_by_text("Beskeden er opgivet").wait_for()

    (row,) = await stage.corridor.rows("message", "message_id = %(n)s", n=number)
    assert row["status"] == "discarded"
    assert await page.get_by_text("Afsenderen skal have afslaget at vide").count() == 1
