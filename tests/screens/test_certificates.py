# SPDX-License-Identifier: MPL-2.0
"""Certifikater in the browser: renewed beside the old one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from corridor import SYSTEMS
from desk import VENDOR_CVR
from screens.stage import LONG, Never, Stage, State
from sygefravaer import agreements
from sygefravaer.contract.operations import Environment
from sygefravaer.identity import from_der


async def long_name(stage: Stage) -> None:
    """Register a certificate of a system with a long name."""
    now, issued = stage.clock.now(), stage.pki.issue("screens-long", VENDOR_CVR)
    async with stage.store.tx() as tx:
        system = await stage.long_system(tx)
        await agreements.register_certificate(
            tx,
            from_der(issued.der),
            system_id=system,
            environment=Environment.TEST,
            valid_from=now.date(),
            now=now,
        )


async def add_nonsense(page) -> None:
    """Register something that is no certificate."""
    await page.fill("#pem", "hello")
    await page.click("#registrer")


STATES = {
    "empty": State(path="/certifikater", sees=".empty", who="frida"),
    "loading": Never("The list is one statement, drawn with the page."),
    "filled": State(path="/certifikater", sees="#certifikater table"),
    "error": State(path="/certifikater", sees=".alert-error", who="vera", then=add_nonsense),
    "forbidden": State(
        path=f"/certifikater/{'0' * 64}", sees="h1:has-text('Siden findes ikke')", who="frida", status=404
    ),
    "long": State(path="/certifikater", sees=f"td:has-text('{LONG[:20]}')", prepare=long_name),
    "zoom": State(path="/certifikater", sees="#certifikater table"),
}


async def test_a_certificate_is_renewed_beside_the_old_one(stage, tmp_path):
    """Uploaded as a file; the old one stops nothing any more, and is then withdrawn."""
    soon = stage.pki.issue("screens-soon", VENDOR_CVR, not_after=datetime.now(UTC) + timedelta(days=20))
    late = stage.pki.issue("screens-late", VENDOR_CVR, not_after=datetime.now(UTC) + timedelta(days=4000))
    page = await stage.page("/certifikater", who="vera")
    await page.select_option("#system", str(SYSTEMS["viborg"]))
    await page.set_input_files("#file", soon.certificate)
    await page.click("#registrer")
    await page.get_by_text("Det gamle virker videre ved siden af.").wait_for()
    chain = await page.locator(".chain li").count()
    renewed = await page.locator("section:has(#stopper)").inner_text()
    await page.set_input_files("#file", late.certificate)
    await page.click("#registrer")
    await page.wait_for_url("**?done=added")
    rows = page.locator("section:has(#overlap) tbody tr")
    await rows.nth(2).wait_for()
    await page.get_by_role("link", name=from_der(soon.der).thumbprint[:8]).click()
    await page.click("#traek")
    await page.get_by_text("Certifikatet er trukket tilbage.").wait_for()

    assert chain == 3
    assert "et andet af systemets certifikater holder længere" in renewed
    assert await page.locator("#traek").is_disabled()
    assert page.complaints == []
