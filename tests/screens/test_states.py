# SPDX-License-Identifier: MPL-2.0
"""Every state of every screen: what must be seen is there, nothing is wrong by axe, nothing sticks out."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest

import breadth
from screens.stage import NAMES, Never, State, overflows, violations
from sygefravaer.admin.screens import site

SCREENS = [module.SCREEN for module in site.SCREENS if module.SCREEN.in_menu or module.SCREEN.name == "message"]
ZOOMED = 320  # CSS pixels: 1280 at 400 %


def states_of(name: str) -> dict[str, State | Never] | None:
    """Give what a screen's test module says its states are; None when there is no such module."""
    where = f"screens.test_{name}"
    if importlib.util.find_spec(where) is None:
        return None
    return getattr(importlib.import_module(where), "STATES", None)


FILLED = [screen.name for screen in SCREENS]
ENGLISH = breadth.some(FILLED, len(FILLED) // 2, of="screens in English")
"""The other half is seen in English by another lot, and every one by `make thorough`."""
RUNS = [
    pytest.param(state, kind, lang, id=f"{screen.name}-{kind}-{lang}")
    for screen in SCREENS
    for kind, state in (states_of(screen.name) or {}).items()
    for lang in (("da", "en") if kind == "filled" and screen.name in ENGLISH else ("da",))
    if isinstance(state, State)
]


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
def test_every_screen_says_its_states(screen):
    """All seven, each as a page or with the reason why it cannot be."""
    states = states_of(screen.name)

    assert states is not None
    assert sorted(states) == sorted(NAMES)
    assert isinstance(states["filled"], State)
    assert all(isinstance(one, State) or len(one.why) > 20 for one in states.values())


@pytest.mark.parametrize(("state", "kind", "lang"), RUNS)
async def test_state(stage, state: State, kind: str, lang: str):
    """Seen in both languages as usual (by lot), in Danish in every state; enlarged, only boxes of their own scroll sideways."""
    if state.prepare is not None:
        await state.prepare(stage)
    size: dict[str, Any] = {"width": ZOOMED, "height": 256} if kind == "zoom" else {}
    if state.then is None:
        page = await stage.kept_page(state.path, who=state.who, lang=lang, **size)
    else:
        page = await stage.page(state.path, who=state.who, lang=lang, **size)
        await state.then(page)
    await page.locator(state.sees).first.wait_for(state="visible" if kind != "loading" else "attached")

    assert page.answered.status == state.status
    assert await page.locator("html").get_attribute("lang") == lang
    assert await violations(page) == []
    assert await overflows(page) == 0
    assert page.complaints == []
