# SPDX-License-Identifier: MPL-2.0
"""
A primary with a synchronous standby, and its end: the short cut of `python -m ordeal failover`.
"""

from __future__ import annotations

import pytest
import pytest_asyncio

from ordeal.failover import RESUMES, Ward, cancelled, kill_primary


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ward(tmp_path_factory):
    """A gateway on a cluster of two."""
    async with Ward(tmp_path_factory.mktemp("ward")) as ward:
        await ward.start_gateway()
        yield ward
        assert await ward.stop_gateway() == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_commit_that_no_standby_has_confirmed_is_unknown_and_one_effect_in_the_end(ward):
    """Its wait is cancelled and its primary is lost: no receipt, and the same message has one effect at the new one."""
    assert await cancelled(ward, "cancel", then_lost=True) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_acknowledged_survives_the_primary_and_traffic_resumes_by_itself(ward):
    """Killed under load: nothing is lost, nothing doubled, and nobody has to touch the gateway."""
    await ward.cluster.reseed()
    outcome = await kill_primary(ward, seconds=1.0)

    assert outcome.held, str(outcome)
    assert outcome.before > 0
    assert outcome.every <= RESUMES
