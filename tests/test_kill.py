# SPDX-License-Identifier: MPL-2.0
"""
The gateway is killed at the four places where a message could be lost or doubled, with a hundred messages in flight.

Senders do what the contract asks of them: repeat the same message until its receipt is final.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter, defaultdict
from uuid import uuid4

import pytest
import pytest_asyncio
from benchmarks.rig import SENDS, Rig, message

from sygefravaer import failpoint
from sygefravaer.contract.operations import OPERATIONS

IN_FLIGHT = 100
LANES = 20
AT_A_TIME = 16  # repeats at a time; the hundred in flight are those that meet the kill
PASS = 40  # at which pass of the place the process dies: some messages are through, some under way, some outside


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory):
    """One database and one pair of receivers for all kills of this module."""
    async with Rig(tmp_path_factory.mktemp("rig")) as rig:
        rig.pause = 0.02
        yield rig


async def _until_final(rig, operation, bodies):
    """Repeat each message until its receipt is final, a few at a time, as senders of their own would."""
    turn = asyncio.Semaphore(AT_A_TIME)

    async def repeat(body):
        while True:
            async with turn:
                told = await rig.send(operation, body)
            if told.final:
                return told
            await asyncio.sleep(0.5)

    return dict(zip(bodies, await asyncio.gather(*map(repeat, bodies.values())), strict=True))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("point", sorted(failpoint.POINTS))
@pytest.mark.parametrize("name", SENDS)
async def test_nothing_acknowledged_is_lost_doubled_or_reordered(rig, name, point):
    """SIGKILL at the place; then each acknowledged message is applied once, in lane order, and keeps its receipt."""
    operation = OPERATIONS[name]
    _, sender = rig.sender(operation)
    lanes = [uuid4() for _ in range(LANES)]
    ids = [uuid4() for _ in range(IN_FLIGHT)]
    bodies = {
        besked_id: message(name, besked_id=besked_id, lane=lanes[number % LANES], sender=sender)
        for number, besked_id in enumerate(ids)
    }
    await rig.start_gateway(f"{point}:{PASS}")
    told = dict(zip(ids, await asyncio.gather(*(rig.send(operation, body) for body in bodies.values())), strict=True))

    assert await rig.gateway_dies() == -signal.SIGKILL
    acknowledged = {besked_id for besked_id, each in told.items() if each.code in {"OK", "ADVARSEL"}}

    await rig.start_gateway()
    final = await _until_final(rig, operation, bodies)
    again = await _until_final(rig, operation, bodies)
    await rig.stop_gateway()

    applied = [(besked_id, lane) for besked_id, lane in await rig.applied(name) if besked_id in bodies]
    times = Counter(besked_id for besked_id, _ in applied)
    assert acknowledged <= times.keys()
    assert times == Counter(ids)
    accepted = [besked_id for besked_id, _ in await rig.accepted(name) if besked_id in bodies]
    place = {besked_id: number for number, besked_id in enumerate(accepted)}
    by_lane = defaultdict(list)
    for besked_id, lane in applied:
        by_lane[lane].append(place[besked_id])
    assert all(order == sorted(order) for order in by_lane.values())
    assert {each.code for each in final.values()} == {"OK"}
    assert all(told[besked_id].raw == final[besked_id].raw for besked_id in ids if told[besked_id].final)
    assert all(again[besked_id].raw == final[besked_id].raw for besked_id in ids)
