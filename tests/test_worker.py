# SPDX-License-Identifier: MPL-2.0
"""Lanes that are claimed ahead of their turn: for whom, how many go at once, and what becomes of them otherwise."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from corridor import SYSTEMS, Corridor, besked_id, fine, message
from switching import NEW, OLD, change, check_lanes, down, later, rest
from sygefravaer.delivery import HANDFUL, Receivers, worker
from sygefravaer.lanes import Lanes

EVENT = "SendHaendelseSygefravaerssag"
CASES = 2 * HANDFUL
MOST = 3  # lanes that may go at a time
MINUTE = timedelta(minutes=1)


class Counted(Lanes):
    """Lanes that say how many each claim brought."""

    def __init__(self):
        super().__init__(jitter=lambda: 1.0)
        self.brought = []

    async def claim(self, *given, **more):
        claims = await super().claim(*given, **more)
        if claims:
            self.brought.append(len(claims))
        return claims


@pytest.fixture
def lanes():
    return Counted()


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """However busy this machine is, a receiver answers at once, and what lies ahead may wait."""
    monkeypatch.setattr("sygefravaer.delivery.pace.QUICK", 60.0)
    monkeypatch.setattr(worker, "HELD_AHEAD", 60.0)
    monkeypatch.setattr(worker, "POLL", 0.05)


@pytest.fixture
async def corridor(make_store, vault, clock, pki, lanes):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(
        store, vault, clock, pki, budget=3, timeout=5.0, lanes=lanes, receivers=Receivers(patience=100, carried=MOST)
    ) as made:
        yield made


async def waiting(corridor, number=CASES):
    """Put messages of as many cases in their lanes, whose receiver was away and is there again."""
    sent = [message(EVENT, NemrefusionsID=uuid4()) for _ in range(number)]
    await down(corridor, OLD)
    for each in sent:
        assert (await corridor.send(EVENT, each)).code == "G006"
    await corridor.receivers[OLD].server.start()
    corridor.clock.advance(MINUTE)
    return sent


def held(corridor):
    """Count what lies ahead in this node."""
    return sum(len(ahead.claims) for ahead in corridor.delivery._worker._ahead.values())


async def until(true):
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


async def some_ahead(corridor):
    """
    Let the receiver answer two messages at once and no more until the event is set, which is given.

    By then every message that is under way has come to it, and others lie ahead.
    """
    go, asked = asyncio.Event(), []

    async def answer(call):
        asked.append(call)
        if len(asked) > 2:
            await go.wait()
        return await fine(call)

    corridor.receivers[OLD].answer = answer
    corridor.work()
    sent = await waiting(corridor)
    await until(lambda: held(corridor) and len(asked) - 2 == len(corridor.delivery._worker.carried))
    return go, sent


async def handed_back(corridor):
    """Wait until nothing is claimed but what is under way, which does not end meanwhile."""
    await until(lambda: not held(corridor))
    async with asyncio.timeout(20):
        while len(await corridor.rows("lane", "token IS NOT NULL")) != len(corridor.delivery._worker.carried):
            await asyncio.sleep(0.01)


async def test_who_answers_at_once_has_lanes_claimed_ahead(corridor, lanes):
    """One claim brings a handful more than may go at a time, and each is carried once."""
    corridor.work()
    sent = await waiting(corridor)
    await rest(corridor)

    assert sorted(corridor.receivers[OLD].came) == sorted(besked_id(each) for each in sent)
    assert max(lanes.brought) > MOST
    assert len(lanes.brought) <= CASES / 3
    assert held(corridor) == 0


async def test_no_more_go_at_a_time_than_the_receiver_gets(corridor):
    """What lies ahead waits for a place."""
    go, _ = await some_ahead(corridor)
    await asyncio.sleep(0.1)

    assert len(corridor.delivery._worker.carried) <= MOST
    go.set()
    await rest(corridor)
    assert len(corridor.receivers[OLD].came) == CASES


async def test_who_takes_his_time_has_none(corridor, lanes, monkeypatch):
    """A lane that would wait here long is left to whoever is free first."""
    monkeypatch.setattr("sygefravaer.delivery.pace.QUICK", 0.0)
    corridor.work()
    sent = await waiting(corridor)
    await rest(corridor)

    assert len(corridor.receivers[OLD].came) == len(sent)
    assert held(corridor) == 0
    assert max(lanes.brought) <= MOST


async def test_what_has_waited_for_too_long_is_handed_back(corridor, monkeypatch):
    """Long before its lease ends; somebody else may claim it at once."""
    go, _ = await some_ahead(corridor)
    monkeypatch.setattr(worker, "HELD_AHEAD", 0.1)
    await handed_back(corridor)
    under_way = len(corridor.delivery._worker.carried)

    assert under_way
    assert len(await corridor.rows("message", "status = 'sending'")) == under_way
    await check_lanes(corridor)
    go.set()
    await later(corridor)
    assert len(corridor.receivers[OLD].came) == CASES


async def test_what_there_is_room_for_begins_however_long_the_claim_took(corridor, monkeypatch):
    """A database that is slow makes all of a claim old: it still gets on."""
    monkeypatch.setattr(worker, "HELD_AHEAD", -1.0)
    corridor.work()
    sent = await waiting(corridor)
    await rest(corridor)

    assert sorted(corridor.receivers[OLD].came) == sorted(besked_id(each) for each in sent)


async def test_what_lies_ahead_for_a_receiver_that_rests_is_handed_back(corridor):
    """It is not begun, and not kept."""
    go, _ = await some_ahead(corridor)
    receiver = corridor.delivery._receivers.of(SYSTEMS[OLD])
    receiver.rests_until = corridor.clock.now() + MINUTE
    came = len(corridor.receivers[OLD].came)
    await handed_back(corridor)
    await asyncio.sleep(0.1)

    assert len(corridor.receivers[OLD].came) == came
    go.set()
    await later(corridor)
    assert len(corridor.receivers[OLD].came) == CASES


async def test_a_stop_hands_back_what_was_claimed_ahead(corridor):
    """What is being sent is finished; none of the rest is begun, and nobody has to wait for a lease."""
    go, _ = await some_ahead(corridor)
    came = len(corridor.receivers[OLD].came)
    corridor.delivery._receivers.of(SYSTEMS[OLD]).pace._limit = float(CASES)
    corridor.delivery.end()
    assert not corridor.delivery._worker._begin()  # as when one ends before the worker has come to its end
    stopping = asyncio.create_task(corridor.delivery.stop(patience=5))
    await asyncio.sleep(0.05)
    go.set()
    await stopping

    assert len(corridor.receivers[OLD].came) == came
    assert held(corridor) == 0
    assert await corridor.rows("lane", "token IS NOT NULL") == []
    assert len(await corridor.rows("message", "status = 'queued'")) == CASES - came
    await check_lanes(corridor)


async def test_what_lies_ahead_goes_where_the_route_leads_when_it_is_begun(corridor, monkeypatch):
    """A lane that was claimed for one system moves to the other like any lane."""
    monkeypatch.setattr("sygefravaer.delivery.ways.SAME_WAY", 0.0)
    go, sent = await some_ahead(corridor)
    came = list(corridor.receivers[OLD].came)
    await change(corridor, NEW)
    go.set()
    await later(corridor)
    await later(corridor)

    assert corridor.receivers[OLD].came == came
    assert sorted(came + corridor.receivers[NEW].came) == sorted(besked_id(each) for each in sent)
