# SPDX-License-Identifier: MPL-2.0
"""
The database's disk is full, then the gateway's own: the short cut of `python -m ordeal fulldisk`.
"""

from __future__ import annotations

import pytest
import pytest_asyncio

from ordeal.disk import Disk
from ordeal.fulldisk import DATABASE_MB, GATEWAY_MB, Shelf, database_full, own_disk_full


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shelf(tmp_path_factory):
    """A gateway and a database, each on a disk of its own."""
    with Disk(DATABASE_MB) as database, Disk(GATEWAY_MB) as own:
        async with Shelf(tmp_path_factory.mktemp("shelf"), database=database, own=own) as shelf:
            await shelf.start_gateway()
            yield shelf
            assert await shelf.stop_gateway() == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_database_that_cannot_write_ends_itself_and_nothing_is_lost(shelf, record_property):
    """Senders are told that it did not work, never that they were refused; started again, it goes on."""
    outcome = await database_full(shelf, seconds=2.0, crash=True)

    record_property("summary", f"{shelf.disk.kind}: {outcome}")
    assert outcome.wrong == ()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_gateway_whose_own_disk_is_full_serves_on_and_tells_of_the_gap_in_its_log(shelf, record_property):
    """It also stops and starts with no room left; the audit's anchors go on when there is some."""
    outcome = await own_disk_full(shelf, seconds=2.0)

    record_property("summary", f"{shelf.own.kind}: {outcome}")
    assert outcome.wrong == ()
