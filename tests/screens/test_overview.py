# SPDX-License-Identifier: MPL-2.0
"""Overblik in the browser."""

from __future__ import annotations

from screens.stage import Never, Stage, State

STATES = {
    "empty": State(path="/overblik", sees=".empty", who="frida"),
    "loading": Never("The page is drawn from a few statements, and its parts replace themselves when they are there."),
    "filled": State(path="/overblik", sees="#parkeret ~ div td", prepare=Stage.fill),
    "error": Never("Nothing is typed here; a database that is away is the frame's page of trouble."),
    "forbidden": Never("Every role may see it, each its own."),
    "long": Never("Names are the registers'."),
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
