# SPDX-License-Identifier: MPL-2.0
"""Aftaler in the browser: asked for, approved, and seen by both sides."""

from __future__ import annotations

from uuid import uuid4

from corridor import START_OF_TIME, SYSTEMS
from desk import SETUP, VIBORG
from screens.stage import Never, Stage, State
from sygefravaer import agreements
from sygefravaer.agreements import organisations
from sygefravaer.contract.operations import Service

VALLENSBAEK = "19583910"  # of the state of long texts, and nothing else
TODAY = "2026-03-02"


async def open_to_vendor(stage: Stage) -> None:
    """Let the vendor's systems into the display group."""
    async with stage.store.tx() as tx:
        for system in SYSTEMS.values():
            await organisations.join_group(tx, system, "MONOPOLBRUD", by=SETUP, now=stage.clock.now())


async def long_names(stage: Stage) -> None:
    """Let a system with a long name have an agreement."""
    async with stage.store.tx() as tx:
        system = await stage.long_system(tx)
        await agreements.grant_agreement(
            tx,
            agreement_id=uuid4(),
            system_id=system,
            service=Service.SYGEFRAVAER,
            municipality_cvr=VALLENSBAEK,
            valid_from=START_OF_TIME,
            now=stage.clock.now(),
        )


async def ask_backwards(page) -> None:
    """Ask for a period that ends before it begins."""
    await page.select_option("#municipality", VIBORG)
    await page.fill("#valid_from", "2026-05-01")
    await page.fill("#valid_to", "2026-04-01")
    await page.click("#gem")


STATES = {
    "empty": State(path="/aftaler", sees=".empty", who="frida"),
    "loading": Never("The list is one statement, drawn with the page; it replaces itself when something has changed."),
    "filled": State(path="/aftaler", sees="#liste table"),
    "error": State(path="/aftaler/ny", sees=".alert-error", who="vera", prepare=open_to_vendor, then=ask_backwards),
    "forbidden": State(path="/aftaler/ny", sees="h1:has-text('Det må du ikke')", who="viggo", status=403),
    "long": State(path=f"/aftaler?kommune={VALLENSBAEK}", sees="#liste table", prepare=long_names),
    "zoom": State(path="/aftaler", sees="#liste table"),
}


async def test_a_municipality_approves_what_a_vendor_asks_for(stage):
    """The vendor sees the check before he asks, and the approval without a click; the municipality finds it at once."""
    await open_to_vendor(stage)
    vendor = await stage.page("/aftaler/ny", who="vera")
    await vendor.select_option("#system", str(SYSTEMS["aarhus"]))
    await vendor.select_option("#service", "Sygefravaer")
    await vendor.select_option("#municipality", VIBORG)
    await vendor.fill("#valid_from", TODAY)
    await vendor.click("#gem")
    await vendor.get_by_text("Kladden er gemt.").wait_for()
    checks = await vendor.locator(".checks li strong").all_inner_texts()
    await vendor.click("#send")
    await vendor.get_by_text("Anmodningen er sendt til kommunen.").wait_for()

    town = await stage.page("/aftaler", who="viggo")
    await town.get_by_role("link", name="aarhus, Sygefravaer, Viborg").click()
    await town.get_by_text("Venter på: Kommunen, som skal godkende eller afvise").wait_for()
    await town.locator("#godkend").focus()
    await town.keyboard.press("Enter")
    await town.get_by_text("Aftalen er godkendt.").wait_for()
    await vendor.locator("#aftale .badge:has-text('Godkendt')").wait_for()

    assert checks[:6] == ["I orden:"] * 6
    rows = await stage.desk.record("event = 'agreement.approved'")
    assert [row["municipality_cvr"] for row in rows] == [VIBORG]
    assert vendor.complaints == town.complaints == []
