# SPDX-License-Identifier: MPL-2.0
"""Forslag in the browser: what waits for a second person."""

from __future__ import annotations

import hmac

from corridor import SYSTEMS
from desk import VIBORG, Person
from screens.stage import LONG, Never, Stage, State


async def propose(stage: Stage, reason: str = "Viborg skifter system") -> str:
    """Let one operator propose a change of Viborg's route, and give the proposal's address."""
    secret = await stage.session("otto")
    otto = Person(stage.desk, cookie=secret, csrf=hmac.digest(secret.encode(), b"csrf", "sha256").hex())
    route = {
        "service": "SygefravaerJC",
        "municipality": VIBORG,
        "system": str(SYSTEMS["aarhus"]),
        "valid_from": "2026-12-01",
    }
    told = await otto("POST", "/proposals", {"route": route, "reason": reason})
    assert told.status == 201, told.body
    return f"/forslag/{told.body['proposal_id']}"


async def confirm_alone(page) -> None:
    """Confirm without a reason: press what stands there, past the browser's own check."""
    await page.locator("details summary").last.click()
    await page.locator("#alene").evaluate("one => one.required = false")
    await page.click("#alene-knap")


async def first(page) -> None:
    """Open the first proposal, and break the glass without a reason."""
    await page.locator("section:has(#andre) tbody a").first.click()
    await confirm_alone(page)


STATES = {
    "empty": Never("Proposals of other tests are there; the sentence of an empty list is a test over HTTP."),
    "loading": Never("The list is one statement, drawn with the page."),
    "filled": State(path="/forslag", sees="section:has(#andre) table", prepare=propose),
    "error": State(path="/forslag", sees=".alert-error", prepare=propose, then=first),
    "forbidden": State(path="/forslag", sees="h1:has-text('Det må du ikke')", who="vera", status=403),
    "long": State(path="/forslag", sees="tbody", prepare=lambda stage: propose(stage, LONG)),
    "zoom": State(path="/forslag", sees="section:has(#andre) table", prepare=propose),
}


async def test_a_proposal_is_withdrawn_and_seen_so_by_the_other(stage):
    """The other person's page says so without a click."""
    address = await propose(stage)
    one, other = await stage.page(address, who="otto"), await stage.page(address, who="olga")
    await one.click("#traek")
    await one.get_by_text("Forslaget er trukket tilbage.").wait_for()
    await other.locator("#et dd:has-text('Trukket tilbage')").wait_for()

    assert one.complaints == other.complaints == []
