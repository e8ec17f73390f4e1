# SPDX-License-Identifier: MPL-2.0
"""Overblik in the browser."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

from screens.stage import VENDOR, Never, Stage, State
from sygefravaer import agreements
from sygefravaer.contract.operations import Environment
from sygefravaer.identity import from_der


async def a_long_name(stage: Stage) -> None:
    """A system with a long name, whose certificate expires in a month."""
    now, soon = stage.clock.now(), datetime.now(UTC) + timedelta(days=30, hours=1)
    issued = stage.pki.issue(f"long-{uuid4().hex[:8]}", VENDOR, not_after=soon)
    async with stage.store.tx() as tx:
        about = {"system_id": await stage.long_system(tx), "environment": Environment.TEST, "now": now}
        await agreements.register_certificate(tx, from_der(issued.der), valid_from=date(2014, 1, 1), **about)


STATES = {
    "empty": State(path="/overblik", sees=".empty", who="frida"),
    "loading": Never("The page is drawn from a few statements, and its parts replace themselves when they are there."),
    "filled": State(path="/overblik", sees="#parkeret ~ div td", prepare=Stage.fill),
    "error": Never("Nothing is typed here; a database that is away is the frame's page of trouble."),
    "forbidden": Never("Every role may see it, each its own."),
    "long": State(path="/overblik", sees="text=Donaudampf", prepare=a_long_name),
    "zoom": State(path="/overblik", sees="h1", prepare=Stage.fill),
}


async def test_each_sees_what_is_his(stage):
    """An operator all municipalities; a municipality its own; who has nothing is told so in every section."""
    await stage.fill()
    everything, own, nothing = [
        await (await stage.page("/overblik", who=who)).locator("#overview").inner_text()
        for who in ("otto", "asta", "frida")
    ]

    assert "Viborg" in everything
    assert "Aarhus" in everything
    assert "Aarhus" in own
    assert "Viborg" not in own
    assert "Aarhus" not in nothing
    assert "Ingen besked er parkeret." in nothing
    assert "har ikke svaret i" in everything


async def test_each_number_leads_to_its_messages(stage):
    """What is parked, owed and queued is one click away, narrowed to just that."""
    await stage.fill()
    for section, wanted in (("parkeret", "Parkeret"), ("skyldes", "Viborg"), ("koe", "I kø")):
        page = await stage.page("/overblik")
        link = page.locator(f"section[aria-labelledby='{section}'] tbody a")
        await (link.filter(has_text=wanted) if section == "skyldes" else link).first.click()
        await page.wait_for_url("**/beskeder?*")
        rows = await page.locator("#rows tbody tr").all_inner_texts()
        assert rows, section
        assert all(wanted in row for row in rows), section
