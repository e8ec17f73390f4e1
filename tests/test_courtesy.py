# SPDX-License-Identifier: MPL-2.0
"""What lies in the lanes lets callers go first, and costs no more than it must: a lane's way is asked for once, a flush is shared."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import monotonic
from uuid import uuid4

import pytest

from corridor import Corridor, besked_id, fine, message
from switching import NEW, OLD, change, down, later, refuse
from sygefravaer import audit
from sygefravaer.delivery import Callers, ways
from sygefravaer.lanes import Lanes, Status

EVENT = "SendHaendelseSygefravaerssag"
LONG = 60.0  # seconds; longer than any test takes


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, budget=3, timeout=5.0, lanes=Lanes(jitter=lambda: 1.0)) as made:
        made.work()
        yield made


async def waiting(corridor, number):
    """Put messages of one case in a lane whose receiver was away and is there again."""
    case = uuid4()
    sent = [message(EVENT, NemrefusionsID=case) for _ in range(number)]
    await down(corridor, OLD)
    for each in sent:
        assert (await corridor.send(EVENT, each)).code == "G006"
    await corridor.receivers[OLD].server.start()
    return sent


# --- callers go first ---


async def test_who_lets_callers_go_first_waits_for_the_last_of_them():
    """With nobody inside for none at all; the first one's end is not enough."""
    callers = Callers(patience=LONG)
    async with asyncio.timeout(1):
        await callers.first()
    with callers:
        with callers:
            polite = [asyncio.create_task(callers.first()) for _ in range(3)]
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in polite)
    async with asyncio.timeout(1):
        await asyncio.gather(*polite)
    with callers:  # and another one is waited for like the first
        again = asyncio.create_task(callers.first())
        await asyncio.sleep(0.01)
        assert not again.done()
    async with asyncio.timeout(1):
        await again


async def test_there_may_always_be_a_caller():
    """Who lets them go first waits for a moment only, and whoever is cut off meanwhile leaves nothing behind."""
    callers = Callers(patience=0.05)
    with callers:
        gone = asyncio.create_task(callers.first())
        await asyncio.sleep(0)
        gone.cancel()
        begun = monotonic()
        async with asyncio.timeout(5):
            await callers.first()
        assert monotonic() - begun >= 0.04
        assert not callers._answered._waiters


async def test_the_worker_sends_between_the_calls(corridor):
    """Whoever is being answered goes before what lies in a lane; when nobody is, it goes."""
    sent = await waiting(corridor, 1)
    corridor.delivery.callers = Callers(patience=LONG)
    with corridor.delivery.callers:
        corridor.clock.advance(timedelta(minutes=1))
        corridor.delivery.wake()
        async with asyncio.timeout(5):
            while not corridor.delivery.callers._answered._waiters:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert corridor.receivers[OLD].came == []
    await later(corridor)
    assert corridor.receivers[OLD].came == [besked_id(each) for each in sent]


async def test_a_call_counts_until_it_is_answered(corridor):
    """From the door on, also while its message is at its receiver; afterwards nobody is waited for."""
    inside = []

    async def look(call):
        inside.append(corridor.delivery.callers._inside)
        return await fine(call)

    corridor.receivers[OLD].answer = look
    await corridor.send(EVENT, message(EVENT))

    assert (inside, corridor.delivery.callers._inside) == ([1], 0)


# --- a lane's way ---


@pytest.fixture
def asked(monkeypatch):
    """Count how often the way of a message is asked for."""
    real, numbers = ways.way_of, []

    async def way_of(tx, stored, **more):
        numbers.append(stored.message_id)
        return await real(tx, stored, **more)

    monkeypatch.setattr(ways, "way_of", way_of)
    return numbers


@pytest.mark.parametrize(("seconds", "times"), [(LONG, 1), (0.0, 3)])
async def test_messages_that_follow_each_other_go_the_same_way(corridor, asked, monkeypatch, seconds, times):
    """The way of a lane is asked for once, and again when that was long ago."""
    monkeypatch.setattr(ways, "SAME_WAY", seconds)
    sent = await waiting(corridor, 3)
    asked.clear()
    await later(corridor, timedelta(minutes=1))

    assert corridor.receivers[OLD].came == [besked_id(each) for each in sent]
    assert len(asked) == times


async def test_a_change_counts_for_what_follows_later(corridor, monkeypatch):
    """The route leads elsewhere while the first message of a lane is sent: the second goes there."""
    monkeypatch.setattr(ways, "SAME_WAY", 0.1)
    sent = await waiting(corridor, 2)

    async def slow(call):
        await change(corridor, NEW)
        await asyncio.sleep(0.2)
        return await fine(call)

    corridor.receivers[OLD].answer = slow
    await later(corridor, timedelta(minutes=1))
    await later(corridor)

    assert corridor.receivers[OLD].came == [besked_id(sent[0])]
    assert corridor.receivers[NEW].came == [besked_id(sent[1])]


# --- a flush for several ---


@pytest.fixture
def loosely(monkeypatch):
    """Note of each settlement what it said and whether it waited for the disk."""
    real, noted = Lanes.settle, []

    async def settle(self, tx, claim, stored, **more):
        noted.append((more["status"], more["loosely"]))
        return await real(self, tx, claim, stored, **more)

    monkeypatch.setattr(Lanes, "settle", settle)
    return noted


async def test_only_what_nobody_waits_for_and_was_delivered_is_settled_loosely(corridor, loosely):
    """A caller's own message waits for the disk, and so does whatever a person or a sender is told of."""
    await corridor.send(EVENT, message(EVENT))
    assert loosely == [(Status.DELIVERED, False)]

    sent = await waiting(corridor, 2)
    assert set(loosely[1:]) == {(Status.QUEUED, False)}

    del loosely[:]
    await later(corridor, timedelta(minutes=1))
    assert loosely == [(Status.DELIVERED, True)] * 2
    assert corridor.receivers[OLD].came[-2:] == [besked_id(each) for each in sent]


async def test_a_refusal_waits_for_the_disk(corridor, loosely):
    """Its sender is told, and is owed the word until it has been."""
    await down(corridor, OLD)
    await corridor.send(EVENT, message(EVENT))
    corridor.receivers[OLD].raw = refuse
    await corridor.receivers[OLD].server.start()
    del loosely[:]
    await later(corridor, timedelta(minutes=1))
    assert loosely
    assert not any(loose for _, loose in loosely)
    assert Status.DELIVERED not in dict(loosely)


async def test_whoever_asks_again_is_told_after_a_commit_that_waits_for_the_disk(corridor, loosely, monkeypatch):
    """It takes the loose outcome along: what a sender was told no crash takes back."""
    real, noted = audit.record, []

    async def record(tx, event, **more):
        noted.append((event, more.get("loosely", False)))
        return await real(tx, event, **more)

    monkeypatch.setattr(audit, "record", record)
    await down(corridor, OLD)
    one = message(EVENT)
    assert (await corridor.send(EVENT, one)).code == "G006"
    await corridor.receivers[OLD].server.start()
    await later(corridor, timedelta(minutes=1))
    assert loosely[-1] == (Status.DELIVERED, True)

    del noted[:]
    assert (await corridor.send(EVENT, one)).kode == "OK"
    assert (audit.Event.MESSAGE_REPEATED, False) in noted
