# SPDX-License-Identifier: MPL-2.0
"""The house of the screens, once for all tests of this process; where there is no Chromium, they are not run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import pytest_asyncio

from sygefravaer import audit
from sygefravaer.clock import MovableClock
from sygefravaer.vault import Vault

NEEDS = "stage"


def pytest_collection_modifyitems(config, items):
    """Let the tests share the loop of the house; leave out what needs a browser that is not here, and count it."""
    here = Path(__file__).parent
    mine = [item for item in items if item.path.is_relative_to(here) and NEEDS in getattr(item, "fixturenames", ())]
    if not _browser():
        config.screens_not_run = len(mine)
        items[:] = [item for item in items if item not in mine]
        return
    for item in mine:
        item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def _browser() -> bool:
    if importlib.util.find_spec("playwright") is None:
        return False
    return importlib.import_module("screens.stage").CHROMIUM is not None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(embedded, pki, tmp_path_factory):
    """Build the house."""
    from conftest import START
    from screens.stage import Stage

    tmp = tmp_path_factory.mktemp("house")
    async with Stage(
        embedded, Vault.create_file(tmp / "vault.json"), MovableClock(START, running=False), pki, tmp
    ) as made:
        audit.sign_with(None)  # a process writes for one platform, and the tests between are of others
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def stage(house):
    """Give the house to one test, and close the pages that it opens."""
    before = audit.sign_with(house.key)
    yield house
    await house.close_pages()
    audit.sign_with(before)
