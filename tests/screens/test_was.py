# SPDX-License-Identifier: MPL-2.0
"""The accessibility statement in the browser."""

from __future__ import annotations

from screens.stage import overflows, violations


async def test_the_statement_is_there_for_everybody_and_says_that_it_is_a_draft(stage):
    """In both languages, led to from every page, and accessible itself."""
    page = await stage.page("/drift", who=None)
    await page.get_by_role("link", name="Tilgængelighed").click()
    await page.get_by_text("Dette er et udkast.").wait_for()
    assert await violations(page) == []
    english = await stage.page("/was", who=None, lang="en", width=320)
    await english.get_by_text("This is a draft.").wait_for()
    assert await violations(english) == []
    assert await overflows(english) == 0
