# SPDX-License-Identifier: MPL-2.0
"""A municipality changes its jobcentre system: what moves, what stays, and that nothing goes to both or to none."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from corridor import SYSTEMS, Corridor, besked_id, fine, message
from switching import NEW, OLD, SECOND, change, check_lanes, crash, down, events, later, lost, refuse, rest, silent
from sygefravaer.lanes import Lanes

EVENT = "SendHaendelseSygefravaerssag"
ANSWER = "SendForretningsSvar"
TODAY = date(2026, 3, 2)


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, budget=3, timeout=0.5, lanes=Lanes(jitter=lambda: 1.0)) as made:
        made.work()
        yield made


# --- what moves ---


async def test_what_the_old_system_has_surely_not_had_moves_with_all_behind_it(corridor):
    """No connection was ever made: the next attempt takes the lane to the new system, in order and on record."""
    case = uuid4()
    sent = [message(EVENT, NemrefusionsID=case) for _ in range(3)]
    await down(corridor, OLD)
    told = [await corridor.send(EVENT, each) for each in sent]
    before = await corridor.stored(sent[0])
    await change(corridor, NEW)
    await later(corridor)

    assert {one.code for one in told} == {"G006"}
    assert before["detail"] == "Unreachable"
    assert corridor.receivers[NEW].came == [besked_id(each) for each in sent]
    assert [(await corridor.stored(each))["status"] for each in sent] == ["delivered"] * 3
    moved = {"by": "route", "from": str(SYSTEMS[OLD])}
    assert await events(corridor, "message.moved") == [moved] * 3
    assert [(row["who"], row["source"], row["target"]) for row in await corridor.rows("moved")] == [
        ("route", SYSTEMS[OLD], SYSTEMS[NEW])
    ] * 3
    await check_lanes(corridor)


async def test_what_was_accepted_and_not_yet_sent_moves_before_what_comes_after(corridor):
    """Messages of one case that wait in both lanes go to the new system in the order in which they were accepted."""
    case = uuid4()
    first, second = message(EVENT, NemrefusionsID=case), message(EVENT, NemrefusionsID=case)
    await down(corridor, OLD)
    await down(corridor, NEW)
    await corridor.send(EVENT, first)
    await change(corridor, NEW)
    corridor.clock.advance(SECOND / 2)  # so that nobody holds the lane to which the other one moves
    await corridor.send(EVENT, second)
    corridor.clock.advance(SECOND / 2)
    await rest(corridor)
    await corridor.receivers[NEW].server.start()
    for _ in range(4):
        await later(corridor, timedelta(minutes=1))

    assert corridor.receivers[NEW].came == [besked_id(first), besked_id(second)]
    await check_lanes(corridor)


async def test_what_the_old_system_may_have_stays_with_it_until_it_answers(corridor):
    """A silence is no no: the old system gets the same message again, and what lies behind it moves after its answer."""
    case = uuid4()
    first, second = message(EVENT, NemrefusionsID=case), message(EVENT, NemrefusionsID=case)
    corridor.receivers[OLD].raw = silent
    await corridor.send(EVENT, first)
    await corridor.send(EVENT, second)
    await change(corridor, NEW)
    await later(corridor)
    waiting = [(await corridor.stored(each))["recipient"] for each in (first, second)]
    corridor.receivers[OLD].raw = None
    await later(corridor, timedelta(minutes=1))

    assert waiting == [SYSTEMS[OLD]] * 2
    assert corridor.receivers[OLD].came == [besked_id(first)]
    assert corridor.receivers[NEW].came == [besked_id(second)]
    await check_lanes(corridor)


async def test_what_a_dead_process_may_have_sent_stays(corridor):
    """A lease that lapsed leaves an unknown outcome: that message is not moved."""
    sent = message(EVENT)
    await down(corridor, OLD)
    await corridor.send(EVENT, sent)
    await crash(corridor)
    await change(corridor, NEW)
    await later(corridor)
    await corridor.receivers[OLD].server.start()
    await later(corridor, timedelta(minutes=1))

    assert corridor.receivers[OLD].came == [besked_id(sent)]
    assert corridor.receivers[NEW].came == []


async def test_old_system_gets_what_it_may_have_for_as_many_days_as_the_route_says(corridor):
    """With no days to finish it is parked at once, and a person decides; nothing is sent to the new system."""
    sent = message(EVENT)
    corridor.receivers[OLD].raw = silent
    await corridor.send(EVENT, sent)
    await change(corridor, NEW, finish_days=0)
    corridor.receivers[OLD].raw = None
    await later(corridor)
    row = await corridor.stored(sent)

    assert (row["status"], row["detail"]) == ("parked", "the route leads to another system")
    assert corridor.receivers[OLD].came == corridor.receivers[NEW].came == []


async def test_silent_old_system_is_given_up_after_five_days(corridor):
    """Until answered, at the most five days; then it is parked like anything else."""
    sent = message(EVENT)
    corridor.receivers[OLD].raw = silent
    await corridor.send(EVENT, sent)
    await change(corridor, NEW)
    await later(corridor, timedelta(days=5, seconds=1))

    assert (await corridor.stored(sent))["detail"] == "given up HTTP 503"
    assert corridor.receivers[NEW].came == []


async def test_change_counts_from_its_day_on(corridor):
    """The day before, everything goes to the old system; from midnight in Denmark on, to the new one."""
    await change(corridor, NEW, valid_from=TODAY + timedelta(days=1))
    first, second = message(EVENT), message(EVENT)
    await corridor.send(EVENT, first)
    corridor.clock.advance(datetime(2026, 3, 2, 23, tzinfo=UTC) - corridor.clock.now())
    await corridor.send(EVENT, second)

    assert corridor.receivers[OLD].came == [besked_id(first)]
    assert corridor.receivers[NEW].came == [besked_id(second)]


async def test_message_that_names_the_old_system_is_not_moved(corridor):
    """What says whom it is for goes to nobody else: it is parked for a person."""
    sent = message(EVENT, ModtagerSystemID=SYSTEMS[OLD])
    await down(corridor, OLD)
    await corridor.send(EVENT, sent)
    await change(corridor, NEW)
    await later(corridor)

    row = await corridor.stored(sent)
    assert (row["status"], row["detail"]) == ("parked", "the message names another system")
    assert corridor.receivers[NEW].came == []


async def test_move_waits_while_the_new_lane_is_held(corridor):
    """While somebody sends in the lane it goes to, a message stays where it is; then it moves."""
    case = uuid4()
    first, second = message(EVENT, NemrefusionsID=case), message(EVENT, NemrefusionsID=case)
    await down(corridor, OLD)
    await corridor.send(EVENT, first)
    await change(corridor, NEW)
    go = asyncio.Event()

    async def slow(call):
        await go.wait()
        return await fine(call)

    corridor.receivers[NEW].answer = slow
    corridor.clients._timeout = 10
    sending = asyncio.create_task(corridor.send(EVENT, second))
    async with asyncio.timeout(5):
        while not corridor.receivers[NEW].calls:
            await asyncio.sleep(0.01)
    corridor.clock.advance(SECOND)
    corridor.delivery.wake()
    await asyncio.sleep(0.2)
    meanwhile = await corridor.stored(first)
    go.set()
    await sending
    await later(corridor)
    await later(corridor)

    assert (meanwhile["status"], meanwhile["recipient"]) == ("queued", SYSTEMS[OLD])
    assert corridor.receivers[NEW].came == [besked_id(second), besked_id(first)]
    await check_lanes(corridor)


async def test_answers_of_the_old_system_are_taken_as_its_agreement_says(corridor):
    """A conversation that is open stays with whom it was begun; the new system's word in it is not the gateway's to stop."""
    event = message(EVENT)
    await corridor.send(EVENT, event)
    await change(corridor, NEW)

    told = await corridor.send(ANSWER, message(ANSWER, ReferenceBeskedID=besked_id(event)))

    assert told.kode == "OK"
    assert corridor.receivers["ksd"].came


# --- by chance ---


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_around_changes_nothing_goes_to_both_or_to_none(corridor, seed):
    """
    Routes change, systems fail, lose answers and refuse, processes die with a lane in hand, people replay: at any moment.

    In the end each message has been applied by exactly one system, or is parked where everybody sees it; and no system
    has had two messages of a case in another order than they lay in its lane.
    """
    chance = random.Random(seed)
    cases = [uuid4() for _ in range(3)]
    sent, applied = [], defaultdict(dict)
    state = dict.fromkeys((OLD, NEW), "well")

    def taking(name):
        async def take(call):
            applied[name].setdefault(call.besked_id, corridor.clock.now())
            return await fine(call)

        return take

    for name in (OLD, NEW):
        corridor.receivers[name].answer = taking(name)

    async def behave(name, how):
        if state[name] == "down" and how != "down":
            await corridor.receivers[name].server.start()
        if how == "down" and state[name] != "down":
            await down(corridor, name)
        corridor.receivers[name].raw = {"silent": silent, "refusing": refuse}.get(how)
        if how == "lost":
            corridor.receivers[name].raw = lost(corridor.receivers[name])
        state[name] = how

    async def replay():
        await corridor.replay()
        await rest(corridor)

    for _ in range(40):
        match chance.choice(("send", "send", "send", "route", "behave", "behave", "wait", "replay", "crash")):
            case "send":
                envelope = message(EVENT, NemrefusionsID=chance.choice(cases))
                await corridor.send(EVENT, envelope)
                sent.append(besked_id(envelope))
            case "route":
                await change(corridor, chance.choice((OLD, NEW)), finish_days=chance.choice((None, None, 0)))
            case "behave":
                how = chance.choice(("well", "well", "down", "silent", "lost", "refusing"))
                await behave(chance.choice((OLD, NEW)), how)
            case "wait":
                await later(corridor, timedelta(minutes=chance.choice((1, 5, 200))))
            case "replay":
                await replay()
            case "crash":
                await crash(corridor)
        await later(corridor)
        await check_lanes(corridor)
    for name in (OLD, NEW):
        await behave(name, "well")
    for _ in range(4):
        await replay()
        for _ in range(2):
            await later(corridor, timedelta(hours=4))

    rows = {row["besked_id"]: row for row in await corridor.rows("message")}
    moved = await corridor.rows("moved")
    assert set(rows) == set(sent)
    assert not applied[OLD].keys() & applied[NEW].keys()
    for each in sent:
        had = [name for name in (OLD, NEW) if each in applied[name]]
        if rows[each]["status"] == "delivered":
            assert had == [name for name in (OLD, NEW) if SYSTEMS[name] == rows[each]["recipient"]]
        else:
            assert rows[each]["status"] in {"parked", "queued"}
            stuck = [row for row in rows.values() if row["lane_id"] == rows[each]["lane_id"]]
            assert "parked" in {row["status"] for row in stuck}
    for name in (OLD, NEW):
        order = list(applied[name])
        for place, one in enumerate(order):
            for other in order[place + 1 :]:
                if rows[one]["case_key"] == rows[other]["case_key"]:
                    came = [
                        row["at"]
                        for row in moved
                        if row["message_id"] == rows[other]["message_id"] and row["target"] == SYSTEMS[name]
                    ]
                    overtaken = rows[one]["message_id"] > rows[other]["message_id"]
                    assert not overtaken or max(came) >= applied[name][one]
