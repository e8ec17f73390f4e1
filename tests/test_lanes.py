# SPDX-License-Identifier: MPL-2.0
"""Order per key: accepting, claiming, settling, leases, back-off, parking, repeats, and the pump."""

import asyncio
import contextlib
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sygefravaer.errors import StoreUnavailable
from sygefravaer.lanes import GIVE_UP, OPEN, TRANSITIONS, Entry, Lanes, Pump, Schedule, Status, Verdict
from sygefravaer.lanes.room import _there
from sygefravaer.store import Store, Trail

KSD, VIBORG, AARHUS = UUID(int=1), UUID(int=2), UUID(int=3)
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ME, OTHER = UUID(int=10), UUID(int=11)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def store(make_store):
    return await make_store("lanes", size=8)


@pytest.fixture
def lanes():
    return Lanes(jitter=lambda: 1.0)


def entry(case="A", *, besked_id=None, sender=KSD, recipient=VIBORG, at=NOW, body=b"sealed"):
    return Entry(
        recipient=recipient,
        municipality_cvr="29189846",
        case_key=case,
        sender=sender,
        besked_id=besked_id or uuid4(),
        operation="SendHaendelseSygefravaerssag",
        cpr_key=b"k",
        digest=b"d",
        body=body,
        accepted_at=at,
    )


async def accept(store, lanes, case="A", *, owner=None, **more):
    async with store.read() as tx:
        return await lanes.enqueue(tx, entry(case, **more), owner=owner)


async def claim(store, room, /, *, now=NOW, owner=ME, **more):
    async with store.tx() as tx:
        claims = await room.claim(tx, owner, now=now, **more)
    await check(store)
    return claims


async def settle(store, lanes, claim, message, status, *, now=NOW, **more):
    async with store.tx() as tx:
        result = await lanes.settle(tx, claim, message, status=status, now=now, **more)
    await check(store)
    return result


async def expire(store):
    """Let every lease lapse, as if its holder had died a minute ago."""
    async with store.tx() as tx:
        await tx.run("UPDATE lane SET lease_until = lease_until - interval '1 hour'")


async def look(store, lanes, message):
    async with store.read() as tx:
        return await lanes.get(tx, message.message_id)


async def attempts(store):
    async with store.read() as tx:
        return [
            (row["outcome"], row["stale"])
            for row in await tx.all("SELECT outcome, stale FROM attempt ORDER BY attempt_id")
        ]


async def check(store):
    """Check that each lane row agrees with its messages: every statement rests on that."""
    async with store.tx() as tx:
        await tx.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        wrong = await tx.all(
            """
            SELECT lane_id FROM lane LEFT JOIN LATERAL (
                SELECT count(*) FILTER (WHERE status IN ('queued', 'sending', 'parked')) AS open,
                       count(*) FILTER (WHERE status = 'sending') AS sending,
                       count(*) FILTER (WHERE status = 'parked') AS parked
                FROM message WHERE message.lane_id = lane.lane_id) AS m ON true
            WHERE lane.open <> m.open OR (lane.parked <> (m.parked > 0)) OR m.parked > 1
               OR (m.sending > 0 AND token IS NULL) OR ((token IS NULL) <> (lease_until IS NULL))
               OR (lane.open = 0 AND token IS NOT NULL)
            """
        )
    assert wrong == []


# --- accepting ---


async def test_the_first_message_of_a_free_lane_is_claimed_by_who_accepts_it(store, lanes):
    """The accepting call attempts the delivery itself; nobody else may."""
    done = await accept(store, lanes, owner=ME)

    assert done.fresh
    assert done.claim.messages == (done.message,)
    assert done.message.status is Status.SENDING
    assert await look(store, lanes, done.message) == done.message
    assert await claim(store, lanes) == []


async def test_behind_an_unsettled_message_nobody_gets_a_claim_by_accepting(store, lanes):
    """A busy lane is left to who works it."""
    await accept(store, lanes, owner=ME)
    second = await accept(store, lanes, owner=OTHER)

    assert second.claim is None
    assert second.message.status is Status.QUEUED
    assert (await accept(store, lanes, "B", owner=OTHER)).claim is not None
    await check(store)


async def test_a_lane_that_was_emptied_is_free_again(store, lanes):
    """Settled messages stand in nobody's way."""
    first = await accept(store, lanes, owner=ME)
    assert await settle(store, lanes, first.claim, first.message, Status.DELIVERED, receipt=b"ok") is Status.DELIVERED

    again = await accept(store, lanes, owner=OTHER, at=NOW + SECOND)
    assert again.claim is not None
    assert (await look(store, lanes, first.message)).receipt == b"ok"


async def test_without_an_owner_a_message_waits_for_a_claim(store, lanes):
    """A party's outbox is filled in the transaction of the case and emptied by its pump."""
    done = await accept(store, lanes)

    assert (done.claim, done.message.status) == (None, Status.QUEUED)
    (claimed,) = await claim(store, lanes)
    assert [m.message_id for m in claimed.messages] == [done.message.message_id]


@pytest.mark.parametrize("case", ["A", "B"])
@pytest.mark.parametrize("busy", [True, False])
async def test_the_same_key_again_writes_nothing_and_gives_the_first_copy(store, lanes, case, busy):
    """A duplicate changes nothing, in its own lane or another, and takes no claim."""
    besked_id = uuid4()
    first = await accept(store, lanes, besked_id=besked_id, owner=ME)
    if not busy:
        await settle(store, lanes, first.claim, first.message, Status.DELIVERED)
    second = await accept(store, lanes, case, besked_id=besked_id, owner=OTHER)

    assert not second.fresh
    assert second.claim is None
    assert second.message.message_id == first.message.message_id
    assert await claim(store, lanes) == []
    await check(store)


async def test_copies_that_come_at_once_give_one_row_and_one_claim(store, lanes):
    """The others wait for the first one's commit and are given its row."""
    besked_id = uuid4()
    done = await asyncio.gather(
        *(accept(store, lanes, random.choice("AB"), besked_id=besked_id, owner=uuid4()) for _ in range(20))
    )

    assert sum(each.fresh for each in done) == 1
    assert sum(each.claim is not None for each in done) == 1
    assert len({each.message.message_id for each in done}) == 1
    await check(store)


async def test_a_key_belongs_to_its_sender(store, lanes):
    """Two systems may use the same BeskedID."""
    besked_id = uuid4()
    await accept(store, lanes, besked_id=besked_id)
    assert (await accept(store, lanes, besked_id=besked_id, sender=AARHUS)).fresh


async def test_ids_grow_in_commit_order_within_a_lane(store, lanes):
    """While one acceptance is not committed, the next of the same lane waits: id 6 is never seen before id 5."""
    async with store.tx() as tx:
        first = await lanes.enqueue(tx, entry())
        second = asyncio.create_task(accept(store, lanes))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(second), 0.1)
    assert (await second).message.message_id > first.message.message_id


async def test_what_rides_along_is_written_once_and_only_for_a_new_message(store, lanes):
    """The caller's row is there exactly when the message is; and when a settlement took place."""
    async with store.tx() as tx:
        await tx.run("CREATE TABLE seen (note text)")
    trail = Trail(statement="INSERT INTO seen (note) SELECT %(note)s::text FROM gate", params={"note": "x"})
    once = entry()
    for expected in (1, 1):
        async with store.tx() as tx:
            done = await lanes.enqueue(tx, once, owner=ME, trail=trail)
            assert await tx.one("SELECT count(*) AS n FROM seen") == {"n": expected}
        if done.claim:
            kept = done
    for expected in (2, 2):
        async with store.tx() as tx:
            await lanes.settle(tx, kept.claim, kept.message, status=Status.DELIVERED, now=NOW, trail=trail)
            assert await tx.one("SELECT count(*) AS n FROM seen") == {"n": expected}


async def test_what_is_rolled_back_was_never_accepted(store, lanes):
    """The lane is free after it."""
    with contextlib.suppress(ZeroDivisionError):
        async with store.tx() as tx:
            await lanes.enqueue(tx, entry(), owner=ME)
            raise ZeroDivisionError
    assert (await accept(store, lanes, owner=ME)).claim is not None


# --- moving to another recipient ---


async def move(store, room, lane_id, messages, *, to=AARHUS, **more):
    async with store.tx() as tx:
        done = await room.move(tx, lane_id, [each.message_id for each in messages], recipient=to, now=NOW, **more)
    await check(store)
    return done


async def test_what_moves_keeps_its_place_among_what_is_there(store, lanes):
    """Order in the new lane is that of acceptance; a parked message goes again, and what stays is left."""
    first = await accept(store, lanes, owner=ME)
    second = await accept(store, lanes)
    there = await accept(store, lanes, recipient=AARHUS)
    third = await accept(store, lanes)
    await settle(store, lanes, first.claim, first.message, Status.PARKED)

    assert await move(store, lanes, first.message.lane_id, [first.message, second.message])
    claims = {claim.messages[0].recipient: claim.messages for claim in await claim(store, lanes, lanes=9)}

    assert [each.message_id for each in claims[AARHUS]] == [each.message.message_id for each in (first, second, there)]
    assert [each.message_id for each in claims[VIBORG]] == [third.message.message_id]
    assert {(each.recipient, each.failures, each.first_attempt_at) for each in claims[AARHUS]} == {(AARHUS, 0, None)}


async def test_nothing_moves_while_somebody_holds_either_lane(store, lanes):
    """Also when his lease has lapsed: what he may have sent is not known yet. Who holds the lane it leaves may move."""
    here = await accept(store, lanes, owner=ME)
    lane, messages = here.message.lane_id, [here.message]
    there = await accept(store, lanes, recipient=AARHUS, owner=OTHER)

    assert not await move(store, lanes, lane, messages)
    assert not await move(store, lanes, lane, messages, token=here.claim.token)
    await settle(store, lanes, there.claim, there.message, Status.DELIVERED)
    assert not await move(store, lanes, lane, messages, token=uuid4())
    await expire(store)
    assert not await move(store, lanes, lane, messages)
    assert await move(store, lanes, lane, messages, token=here.claim.token)
    assert await settle(store, lanes, here.claim, here.message, Status.DELIVERED) is None
    assert (await look(store, lanes, here.message)).status is Status.QUEUED


async def test_movers_in_both_directions_and_senders_lock_nobody_out(store, lanes):
    """Many at once, each way, while messages come: none fails, none is lost, and every lane agrees with its messages."""
    made = [await accept(store, lanes, recipient=to) for to in (VIBORG, AARHUS) for _ in range(3)]

    async def wander(way):
        for _ in range(20):
            async with store.read() as tx:
                rows = await tx.all(
                    "SELECT lane_id, message_id FROM message WHERE recipient = %(at)s AND status = 'queued'", at=way[0]
                )
            if rows:
                picked = random.choice(rows)
                async with store.tx() as tx:
                    moved = [picked["message_id"]]
                    await lanes.move(tx, picked["lane_id"], moved, recipient=way[1], now=NOW)

    async def come(to):
        made.extend([await accept(store, lanes, recipient=to) for _ in range(20)])

    await asyncio.gather(
        wander((VIBORG, AARHUS)), wander((AARHUS, VIBORG)), wander((VIBORG, AARHUS)), come(VIBORG), come(AARHUS)
    )
    await check(store)
    claims = await claim(store, lanes, lanes=9, messages=99)

    assert sorted(each.message_id for one in claims for each in one.messages) == sorted(
        each.message.message_id for each in made
    )


# --- claiming and settling ---


async def test_a_claim_takes_the_first_messages_of_a_lane_in_order(store, lanes):
    """Several per claim, strictly by id, and the rest later."""
    ids = [(await accept(store, lanes)).message.message_id for _ in range(5)]
    (first,) = await claim(store, lanes, messages=3)

    assert [m.message_id for m in first.messages] == ids[:3]
    assert all(m.status is Status.SENDING for m in first.messages)
    for message in first.messages:
        await settle(store, lanes, first, message, Status.DELIVERED)
    (second,) = await claim(store, lanes, messages=3)
    assert [m.message_id for m in second.messages] == ids[3:]


async def test_a_claim_takes_several_lanes_oldest_first_and_leaves_out_whom_it_is_told_to(store, lanes):
    """A recipient at its limit, or behind an open circuit, costs the others nothing."""
    await accept(store, lanes, "new", at=NOW - SECOND)
    await accept(store, lanes, "old", at=NOW - 9 * SECOND)
    await accept(store, lanes, "middle", at=NOW - 5 * SECOND, recipient=AARHUS)
    await accept(store, lanes, "future", at=NOW + SECOND)

    taken = await claim(store, lanes, lanes=1, avoid=[AARHUS])
    taken += await claim(store, lanes, lanes=5)
    assert taken[0].messages[0].case_key == "old"
    assert sorted(c.messages[0].case_key for c in taken) == ["middle", "new", "old"]


async def test_a_failure_hands_back_the_message_and_all_behind_it_and_counts_once(store, lanes):
    """Order holds through a failure; only the one that failed is charged with it."""
    ids = [(await accept(store, lanes)).message.message_id for _ in range(3)]
    (first,) = await claim(store, lanes)
    await settle(store, lanes, first, first.messages[0], Status.DELIVERED)
    assert await settle(store, lanes, first, first.messages[1], Status.QUEUED, detail="timeout") is Status.QUEUED

    assert await claim(store, lanes) == []
    (second,) = await claim(store, lanes, now=NOW + SECOND, owner=OTHER)
    assert [m.message_id for m in second.messages] == ids[1:]
    assert [m.failures for m in second.messages] == [1, 0]
    assert [m.first_attempt_at for m in second.messages] == [NOW, None]
    assert await attempts(store) == [("delivered", False), ("queued", False)]


async def test_a_refusal_is_final_and_the_lane_goes_on(store, lanes):
    """The next event is a complete snapshot: nothing waits for a refused one."""
    await accept(store, lanes)
    await accept(store, lanes)
    (both,) = await claim(store, lanes)
    assert await settle(store, lanes, both, both.messages[0], Status.REFUSED, receipt=b"fejl") is Status.REFUSED
    assert await settle(store, lanes, both, both.messages[1], Status.DELIVERED) is Status.DELIVERED


async def test_a_message_is_settled_once(store, lanes):
    """A second settlement by the same holder changes nothing but the log."""
    await accept(store, lanes)
    await accept(store, lanes)
    (both,) = await claim(store, lanes)
    await settle(store, lanes, both, both.messages[0], Status.DELIVERED, receipt=b"first")
    assert await settle(store, lanes, both, both.messages[0], Status.REFUSED, receipt=b"second") is None

    assert (await look(store, lanes, both.messages[0])).receipt == b"first"
    assert await attempts(store) == [("delivered", False), ("refused", True)]


async def test_a_lapsed_lease_frees_the_lane_and_the_first_holder_settles_nothing(store, lanes):
    """A holder that was stopped for a minute wakes up to find its message in other hands."""
    first = await accept(store, lanes, owner=ME)
    await accept(store, lanes)
    await expire(store)
    (second,) = await claim(store, lanes, owner=ME)

    assert second.messages[0].message_id == first.message.message_id
    assert await settle(store, lanes, first.claim, first.message, Status.REFUSED) is None
    async with store.tx() as tx:
        assert not await lanes.extend(tx, first.claim)
        assert not await lanes.release(tx, first.claim, next_at=NOW)
    assert (await look(store, lanes, first.message)).status is Status.SENDING
    assert await settle(store, lanes, second, second.messages[0], Status.DELIVERED) is Status.DELIVERED
    assert await attempts(store) == [("unknown", False), ("refused", True), ("delivered", False)]


async def test_a_lapsed_claim_starts_the_five_days_of_its_head_only(store, lanes):
    """Those behind it were perhaps never sent."""
    for _ in range(3):
        await accept(store, lanes)
    (first,) = await claim(store, lanes)
    await expire(store)
    (second,) = await claim(store, lanes, now=NOW + SECOND)
    assert [m.first_attempt_at for m in second.messages] == [NOW + SECOND, None, None]
    assert first.token != second.token


async def test_an_extended_lease_is_kept_and_a_settlement_extends_it(store, lanes):
    """A claim of many messages lives as long as its holder goes on settling."""
    await accept(store, lanes)
    await accept(store, lanes)
    (held,) = await claim(store, lanes)
    await expire(store)
    async with store.tx() as tx:
        assert await lanes.extend(tx, held)
    assert await claim(store, lanes, owner=OTHER) == []
    await expire(store)
    await settle(store, lanes, held, held.messages[0], Status.DELIVERED)
    assert await claim(store, lanes, owner=OTHER) == []


async def test_a_released_claim_counts_nothing(store, lanes):
    """A full recipient is no failure of the message; the holder says when to come back."""
    await accept(store, lanes)
    (held,) = await claim(store, lanes)
    async with store.tx() as tx:
        assert await lanes.release(tx, held, next_at=NOW + SECOND)
    assert await claim(store, lanes) == []
    (again,) = await claim(store, lanes, now=NOW + SECOND)
    assert again.messages[0].failures == 0
    assert await settle(store, lanes, held, held.messages[0], Status.DELIVERED) is None


async def test_a_parked_head_stops_its_lane_and_no_other(store, lanes):
    """Nothing behind a parked message leaves before a person has decided."""
    await accept(store, lanes)
    behind = await accept(store, lanes)
    (held,) = await claim(store, lanes)
    assert await settle(store, lanes, held, held.messages[0], Status.PARKED, detail="client fault") is Status.PARKED

    assert (await look(store, lanes, behind.message)).status is Status.QUEUED
    assert await claim(store, lanes, now=NOW + 2 * GIVE_UP) == []
    assert (await accept(store, lanes, owner=ME)).claim is None
    assert (await accept(store, lanes, "B", owner=ME)).claim is not None
    async with store.read() as tx:
        assert [m.message_id for m in await lanes.parked(tx)] == [held.messages[0].message_id]
        assert await lanes.due(tx) is None


async def test_a_replay_sends_the_parked_message_first_with_its_five_days_anew(store, lanes):
    """The order is that of acceptance, also after a person's decision."""
    await accept(store, lanes)
    await accept(store, lanes)
    (held,) = await claim(store, lanes)
    head = held.messages[0]
    await settle(store, lanes, held, head, Status.PARKED)
    async with store.tx() as tx:
        assert await lanes.replay(tx, head.message_id, now=NOW)
        assert not await lanes.replay(tx, head.message_id, now=NOW)
        assert not await lanes.discard(tx, head.message_id, receipt=b"r", now=NOW, reason="late")
    (again,) = await claim(store, lanes)
    assert [m.message_id for m in again.messages] == [m.message_id for m in held.messages]
    assert again.messages[0].first_attempt_at is None


async def test_a_discard_is_final_and_lets_the_lane_go_on(store, lanes):
    """The sender gets the receipt of the decision; what was behind leaves."""
    await accept(store, lanes)
    await accept(store, lanes)
    (held,) = await claim(store, lanes)
    head = held.messages[0]
    await settle(store, lanes, held, head, Status.PARKED)
    async with store.tx() as tx:
        assert await lanes.discard(tx, head.message_id, receipt=b"G009", now=NOW, reason="case moved")
    kept = await look(store, lanes, head)
    assert (kept.status, kept.receipt, kept.detail) == (Status.DISCARDED, b"G009", "case moved")
    (again,) = await claim(store, lanes)
    assert [m.message_id for m in again.messages] == [held.messages[1].message_id]


async def test_five_days_after_its_first_attempt_a_message_is_parked(store, lanes):
    """The days count from its own first attempt, whatever it waited for before."""
    await accept(store, lanes)
    (held,) = await claim(store, lanes, now=NOW + 10 * GIVE_UP)
    start = NOW + 10 * GIVE_UP
    assert await settle(store, lanes, held, held.messages[0], Status.QUEUED, now=start) is Status.QUEUED
    (held,) = await claim(store, lanes, now=start + GIVE_UP - 5 * SECOND)
    assert (
        await settle(store, lanes, held, held.messages[0], Status.QUEUED, now=start + GIVE_UP - 5 * SECOND)
        is Status.QUEUED
    )
    (held,) = await claim(store, lanes, now=start + GIVE_UP + SECOND)
    assert (
        await settle(store, lanes, held, held.messages[0], Status.QUEUED, now=start + GIVE_UP + SECOND) is Status.PARKED
    )


@pytest.mark.parametrize("status", [Status.SENDING, Status.DISCARDED])
async def test_a_move_that_is_not_in_the_table_is_refused(store, lanes, status):
    """The table of transitions is the only way from one status to another."""
    await accept(store, lanes)
    (held,) = await claim(store, lanes)
    with pytest.raises(ValueError, match="does not go"):
        await settle(store, lanes, held, held.messages[0], status)


def test_every_status_has_its_row_in_the_table_and_open_ones_are_not_final():
    """A status that ends nothing has a way on; every way leads to a status of the table."""
    assert set(TRANSITIONS) == set(Status)
    assert all(TRANSITIONS[status] for status in OPEN)


def test_a_message_that_vanished_is_never_taken_for_one():
    """Nothing deletes messages; if something did, no answer is made up."""
    with pytest.raises(LookupError):
        _there(None)


# --- under way: a sender's repeats ---


async def under_way(store, lanes):
    await accept(store, lanes)
    (held,) = await claim(store, lanes)
    await settle(store, lanes, held, held.messages[0], Status.UNDER_WAY, receipt=b"G006")
    return held.messages[0]


async def test_g006_frees_the_lane_and_is_asked_again_after_1_5_15_60_minutes_then_hourly(store, lanes):
    """The gateway keeps the order from there; the sender only wants to learn the end."""
    message = await under_way(store, lanes)
    assert (await accept(store, lanes, owner=ME)).claim is not None
    now, waits = NOW, []
    for _ in range(6):
        async with store.tx() as tx:
            due = (await lanes.get(tx, message.message_id)).repeat_at
            assert await lanes.repeats(tx, now=due - SECOND) == []
            (taken,) = await lanes.repeats(tx, now=due)
            assert await lanes.repeats(tx, now=due) == []
        assert taken.message_id == message.message_id
        waits.append((due - now) // timedelta(minutes=1))
        now = due
    assert waits == [1, 5, 15, 60, 60, 60]


async def test_the_end_that_a_repeat_brings_is_kept_once(store, lanes):
    """OK or FEJL: the receipt is replaced by the final one and nobody asks again."""
    message = await under_way(store, lanes)
    async with store.tx() as tx:
        assert await lanes.repeated(tx, message, status=Status.REFUSED, now=NOW, receipt=b"fejl")
        assert not await lanes.repeated(tx, message, status=Status.DELIVERED, now=NOW, receipt=b"ok")
        assert await lanes.repeats(tx, now=NOW + GIVE_UP) == []
    kept = await look(store, lanes, message)
    assert (kept.status, kept.receipt, kept.repeat_at) == (Status.REFUSED, b"fejl", None)


async def test_counts_and_what_is_due_next(store, lanes):
    """What has not ended is counted by status; the next instant is the earliest of lanes and repeats."""
    await under_way(store, lanes)
    await accept(store, lanes, "B", owner=ME)
    async with store.read() as tx:
        assert await lanes.counts(tx) == {Status.PARKED: 0, Status.QUEUED: 0, Status.SENDING: 1, Status.UNDER_WAY: 1}
        assert (await lanes.standing(tx)).in_flight == 1
        assert await lanes.due(tx) == NOW + timedelta(minutes=1)
    await accept(store, lanes, "C", at=NOW + SECOND)
    async with store.read() as tx:
        assert await lanes.due(tx) == NOW + SECOND
        assert await lanes.due(tx, avoid=[VIBORG]) == NOW + timedelta(minutes=1)


# --- the schedule ---


def test_the_back_off_doubles_to_three_hours():
    """1, 3, 7 ... seconds, at most 10 800, spread by the jitter."""
    schedule = Schedule()
    waits = [(schedule.next_attempt(NOW, n, 1.0) - NOW).total_seconds() for n in (1, 2, 3, 13, 14, 10_000)]
    assert waits == [1, 3, 7, 8191, 10_800, 10_800]
    assert schedule.next_attempt(NOW, 1, 0.8) < schedule.next_attempt(NOW, 1, 1.2)


@given(st.integers(1, 10**6), st.floats(0.8, 1.2))
def test_the_back_off_never_comes_early_and_has_an_end(failures, jitter):
    """Between 0.8 s and 3 h 36 min, whatever the count."""
    wait = Schedule().next_attempt(NOW, failures, jitter) - NOW
    assert timedelta(seconds=0.8) <= wait <= timedelta(seconds=12_960)


def test_the_jitter_of_a_lane_is_a_fifth():
    """A receiver that comes back is not met by everybody in the same second."""
    drawn = [Lanes()._jitter() for _ in range(200)]
    assert 0.8 <= min(drawn) < 0.9
    assert 1.1 < max(drawn) <= 1.2


# --- order under concurrency ---


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_order_holds_with_many_claimers_failures_and_lapses(store, seed):
    """Whoever claims, fails, dies or comes late: each lane's messages are applied once by a receiver that dedupes, in order."""
    luck = random.Random(seed)
    lanes = Lanes(jitter=lambda: 0.0)
    accepted, seen, applied = defaultdict(list), set(), defaultdict(list)
    total = 150

    async def accepting(number):
        for _ in range(total // 3):
            done = await accept(store, lanes, luck.choice("ABCDE"), owner=ME if luck.random() < 0.3 else None)
            accepted[done.message.case_key].append(done.message.message_id)
            if done.claim:
                await carry(done.claim)

    async def carry(held):
        for message in held.messages:
            fate = luck.random()
            if fate < 0.9:
                await asyncio.sleep(luck.random() / 1000)
                if message.message_id not in seen:
                    seen.add(message.message_id)
                    applied[message.case_key].append(message.message_id)
            if fate > 0.95 or (0.85 < fate < 0.9):  # died, before or after the receiver had it
                async with store.read() as tx:
                    await tx.run(
                        "UPDATE lane SET lease_until = lease_until - interval '1 hour' WHERE lane_id = %(l)s AND token = %(t)s",
                        l=held.lane_id,
                        t=held.token,
                    )
                await asyncio.sleep(0.005)
                if luck.random() < 0.5:
                    return
            status = Status.DELIVERED if fate < 0.9 else Status.QUEUED
            async with store.tx() as tx:
                if await lanes.settle(tx, held, message, status=status, now=NOW) is not Status.DELIVERED:
                    return

    async def claiming():
        while sum(map(len, applied.values())) < total or await lanes_open():
            async with store.tx() as tx:
                claims = await lanes.claim(tx, uuid4(), now=NOW, lanes=2, messages=3)
            for held in claims:
                await carry(held)
            await asyncio.sleep(0.001)

    async def lanes_open():
        async with store.read() as tx:
            return (await tx.one("SELECT coalesce(sum(open), 0) AS n FROM lane"))["n"]

    async with asyncio.timeout(60):
        await asyncio.gather(*(accepting(n) for n in range(3)), *(claiming() for _ in range(3)))
    assert {case: sorted(ids) for case, ids in accepted.items()} == dict(applied)
    await check(store)


async def test_several_claimers_never_hold_the_same_lane(store, lanes):
    """Two that claim at the same instant take different lanes."""
    for case in "ABCDEF":
        await accept(store, lanes, case)
    taken = await asyncio.gather(*(claim(store, lanes, owner=uuid4(), lanes=2) for _ in range(6)))
    held = [each.lane_id for claims in taken for each in claims]
    assert len(held) == len(set(held)) == 6


async def test_the_cost_of_a_claim_does_not_grow_with_what_is_settled(store, lanes):
    """Only open work is in the indexes that claims read."""
    await accept(store, lanes, "open")
    async with store.tx() as tx:
        await tx.run(
            "INSERT INTO lane (recipient, municipality_cvr, case_key, open, next_at)"
            " SELECT %(r)s, '29189846', 'old ' || n, 0, %(now)s FROM generate_series(1, 20000) AS n",
            r=KSD,
            now=NOW,
        )
        await tx.run(
            "INSERT INTO message (lane_id, recipient, municipality_cvr, case_key, sender, besked_id, operation, cpr_key, digest, body, accepted_at, status)"
            " SELECT lane_id, recipient, municipality_cvr, case_key, recipient, gen_random_uuid(), 'x', '', '', '', %(now)s, 'delivered' FROM lane WHERE open = 0",
            now=NOW,
        )
        await tx.run("ANALYZE lane")
        await tx.run("ANALYZE message")

        async def touched():
            return (
                await tx.one(
                    "SELECT sum(pg_stat_get_xact_tuples_returned(c) + pg_stat_get_xact_tuples_fetched(c)) AS n FROM unnest(ARRAY['lane'::regclass, 'message'::regclass]) AS c"
                )
            )["n"]

        before = await touched()
        (held,) = await lanes.claim(tx, ME, now=NOW)
        await lanes.settle(tx, held, held.messages[0], status=Status.DELIVERED, now=NOW)
        await lanes.due(tx)
        await lanes.counts(tx)
        assert await touched() - before < 60


async def test_a_backlog_for_one_recipient_costs_the_claims_for_others_nothing(store, lanes):
    """A dead receiver's lanes are stepped over as one, in claims and in what is due next."""
    await accept(store, lanes, "open")
    async with store.tx() as tx:
        await tx.run(
            "INSERT INTO lane (recipient, municipality_cvr, case_key, open, next_at)"
            " SELECT %(r)s, '29189846', 'old ' || n, 1, %(now)s FROM generate_series(1, 20000) AS n",
            r=KSD,
            now=NOW - SECOND,
        )
        await tx.run("ANALYZE lane")
        returned = "SELECT pg_stat_get_xact_tuples_returned('lane'::regclass) + pg_stat_get_xact_tuples_fetched('lane'::regclass) AS n"
        before = (await tx.one(returned))["n"]
        (held,) = await lanes.claim(tx, ME, now=NOW, avoid=[KSD])
        assert await lanes.due(tx, avoid=[KSD]) is None
        assert (await tx.one(returned))["n"] - before < 60
    assert held.messages[0].case_key == "open"


# --- turns ---


MANY = 30


async def backlog(store, *, recipient=VIBORG, cvr="29189846", lanes=MANY, age=100):
    """Fill a queue with old lanes, each with one message."""
    async with store.tx() as tx:
        for number in range(lanes):
            await tx.run(
                "WITH made AS (INSERT INTO lane (recipient, municipality_cvr, case_key, open, next_at)"
                " VALUES (%(r)s, %(cvr)s, %(key)s, 1, %(at)s) RETURNING lane_id)"
                " INSERT INTO message (lane_id, recipient, municipality_cvr, case_key, sender, besked_id, operation,"
                " cpr_key, digest, body, accepted_at, status) SELECT lane_id, %(r)s, %(cvr)s, %(key)s, %(r)s,"
                " gen_random_uuid(), 'x', '', '', '', %(at)s, 'queued' FROM made",
                r=recipient,
                cvr=cvr,
                key=f"{cvr} {number}",
                at=NOW - (age - number) * SECOND,
            )


def queues(claims):
    return [(each.messages[0].recipient, each.messages[0].municipality_cvr) for each in claims]


async def test_recipients_and_their_municipalities_take_turns_whatever_lies_before(store, lanes):
    """An old backlog has one turn for every turn of the others, within a claim and from claim to claim."""
    for recipient, cvr, number, age in (
        (KSD, "11111111", MANY, 1000),
        (KSD, "22222222", MANY, 900),
        (KSD, "33333333", 2, 10),
        (VIBORG, "11111111", MANY, 500),
        (AARHUS, "55133018", 2, 5),
    ):
        await backlog(store, recipient=recipient, cvr=cvr, lanes=number, age=age)

    together = queues(await claim(store, lanes, lanes=5))
    one_by_one = [queues(await claim(store, lanes))[0] for _ in range(7)]

    assert together == [
        (KSD, "11111111"),
        (VIBORG, "11111111"),
        (AARHUS, "55133018"),
        (KSD, "22222222"),
        (KSD, "33333333"),
    ]
    # Every recipient once in a round, and its municipalities one after the other; who has nothing left is passed over.
    assert one_by_one == [
        (VIBORG, "11111111"),
        (AARHUS, "55133018"),
        (KSD, "11111111"),
        (VIBORG, "11111111"),
        (KSD, "22222222"),
        (VIBORG, "11111111"),
        (KSD, "33333333"),
    ]


async def test_out_of_turn_age_alone_decides(store, lanes):
    """While a sandbox's clock is held the order must not depend on what was claimed before."""
    await backlog(store, recipient=KSD, lanes=3, age=50)
    await backlog(store, recipient=VIBORG, lanes=3, age=49)
    taken = [each.messages[0] for n in (2, 1, 1, 1, 1) for each in await claim(store, lanes, lanes=n, in_turn=False)]
    assert [one.accepted_at for one in taken] == sorted(one.accepted_at for one in taken)
    assert [one.recipient for one in taken] == [KSD, KSD, VIBORG, KSD, VIBORG, VIBORG]


async def test_a_recipient_gets_no_more_lanes_than_it_has_room_for(store, lanes):
    """The room is the recipient's, however many municipalities it has; the rest goes to others."""
    for cvr in ("11111111", "22222222", "33333333"):
        await backlog(store, recipient=KSD, cvr=cvr, lanes=3)
    await backlog(store, recipient=AARHUS, lanes=5)
    taken = queues(await claim(store, lanes, lanes=6, room={KSD: 2, VIBORG: 0}))
    assert [recipient for recipient, _ in taken].count(KSD) == 2
    assert [recipient for recipient, _ in taken].count(AARHUS) == 4


async def test_of_one_municipality_the_oldest_lanes_go_first_and_all_of_them(store, lanes):
    """Turns change nothing inside a queue."""
    await backlog(store, lanes=MANY)
    numbers = []
    while claims := await claim(store, lanes, lanes=7):
        numbers += [int(each.messages[0].case_key.split()[1]) for each in claims]
    assert numbers == list(range(MANY))


async def test_the_cost_of_a_claim_does_not_grow_with_a_backlog_that_is_due(store, lanes):
    """Of a long queue a claim reads as little as of a short one, and what is not due yet costs a step."""
    await backlog(store, recipient=AARHUS, lanes=1)
    async with store.tx() as tx:
        for recipient, at in ((KSD, NOW - SECOND), (VIBORG, NOW + SECOND)):
            await tx.run(
                "INSERT INTO lane (recipient, municipality_cvr, case_key, open, next_at)"
                " SELECT %(r)s, '29189846', 'old ' || n, 1, %(at)s FROM generate_series(1, 20000) AS n",
                r=recipient,
                at=at,
            )
        await tx.run("ANALYZE lane")
        returned = "SELECT pg_stat_get_xact_tuples_returned('lane'::regclass) + pg_stat_get_xact_tuples_fetched('lane'::regclass) AS n"
        before = (await tx.one(returned))["n"]
        claims = await lanes.claim(tx, ME, now=NOW, lanes=4)
        assert await lanes.due(tx) == NOW - SECOND
        assert (await tx.one(returned))["n"] - before < 250
    assert len(claims) == 4


async def test_an_abandoned_claim_is_another_s_at_once_and_its_outcome_is_unknown(store, lanes):
    """Who cut its attempts off says so; nobody waits a minute for the lease."""
    await accept(store, lanes)
    behind = await accept(store, lanes)
    (held,) = await claim(store, lanes, messages=1)
    async with store.tx() as tx:
        assert await lanes.abandon(tx, held)
    (again,) = await claim(store, lanes, owner=OTHER)
    async with store.tx() as tx:
        assert not await lanes.abandon(tx, held)
    assert [one.message_id for one in again.messages] == [held.messages[0].message_id, behind.message.message_id]
    assert await attempts(store) == [("unknown", False)]


async def test_who_ends_a_claim_is_told_what_is_left_whoever_brought_it(store, lanes):
    """Another node may have accepted what lies behind; the one that ends the claim carries it on."""
    first = await accept(store, lanes, owner=ME)
    told = []
    await accept(store, lanes, owner=OTHER)
    await settle(store, lanes, first.claim, first.message, Status.DELIVERED, behind=lambda: told.append("more"))
    (second,) = await claim(store, lanes)
    await settle(store, lanes, second, second.messages[0], Status.DELIVERED, behind=lambda: told.append("none"))
    assert told == ["more"]


# --- the pump ---


class Receiver:
    """The other end of the wire: what it says to each message, in turn, then OK."""

    def __init__(self, *script):
        self.script = list(script)
        self.got = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, message):
        self.got.append(message.case_key + str(message.message_id))
        await self.gate.wait()
        said = self.script.pop(0) if self.script else Status.DELIVERED
        if isinstance(said, Exception):
            raise said
        return Verdict(status=said, receipt=said.encode(), detail="said")


@contextlib.asynccontextmanager
async def pumping(store, lanes, receiver, clock, **more):
    pump = Pump(store, lanes, receiver, clock=clock, poll=0.05, **more)
    task = asyncio.create_task(pump.run())
    try:
        yield pump
    finally:
        pump.stop()
        await asyncio.wait_for(task, 10)


async def until(condition):
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.005)


def has(store, lanes, **expected):
    async def condition():
        async with store.read() as tx:
            found = await tx.all("SELECT status, count(*) AS n FROM message GROUP BY status")
        return {row["status"]: row["n"] for row in found} == expected

    return condition


async def test_a_pump_empties_lanes_in_order_and_tells_of_each_end(store, lanes, clock):
    """What was waiting and what comes later is sent; the owner's hook is called in the settling transaction."""
    told = []

    async def settled(tx, message, status, verdict):
        told.append((message.message_id, status, verdict.receipt))

    ids = [(await accept(store, lanes)).message.message_id for _ in range(3)]
    receiver = Receiver(Status.DELIVERED, Status.REFUSED)
    async with pumping(store, lanes, receiver, clock, settled=settled) as pump:
        await until(has(store, lanes, delivered=2, refused=1))
        ids.append((await accept(store, lanes)).message.message_id)
        pump.wake()
        await until(has(store, lanes, delivered=3, refused=1))
    assert [number for number, *_ in told] == ids
    assert told[1] == (ids[1], Status.REFUSED, b"refused")
    await check(store)


async def test_a_pump_outlives_what_nobody_foresaw(store, lanes, clock, monkeypatch, caplog):
    """An exception that is no database error is logged with its kind; after a pause the pump goes on."""
    of_lanes, receiver, broken = lanes.claim, Receiver(), [True, True]

    async def claim(*args, **options):
        if broken and broken.pop():
            raise ZeroDivisionError
        return await of_lanes(*args, **options)

    monkeypatch.setattr(lanes, "claim", claim)
    await accept(store, lanes)
    async with pumping(store, lanes, receiver, clock):
        await until(has(store, lanes, delivered=1))

    failures = [record.exc_info[0] for record in caplog.records if record.getMessage() == "pump.failed"]
    assert failures == [ZeroDivisionError] * 2


async def test_a_pump_waits_out_the_back_off_on_the_business_clock(store, lanes, clock):
    """A failure and an attempt that broke come again when the clock has moved, in order."""
    await accept(store, lanes)
    await accept(store, lanes)
    receiver = Receiver(Status.QUEUED, ValueError("a body"))
    async with pumping(store, lanes, receiver, clock):
        for step in (1, 2):
            await until(lambda step=step: failed(store, step))
            clock.advance(timedelta(seconds=3))
        await until(has(store, lanes, delivered=2))
    assert [name[1:] for name in receiver.got] == sorted(name[1:] for name in receiver.got)
    assert len(receiver.got) == 4
    async with store.read() as tx:
        assert await tx.all("SELECT detail FROM attempt WHERE outcome = 'queued' ORDER BY attempt_id") == [
            {"detail": "said"},
            {"detail": "ValueError"},
        ]


async def failed(store, times):
    async with store.read() as tx:
        return (await tx.one("SELECT max(failures) AS n FROM message"))["n"] == times


async def test_a_pump_asks_again_for_what_is_under_way_until_it_has_the_end(store, lanes, clock):
    """G006 once more changes nothing; the final receipt settles it."""
    told = []

    async def settled(tx, message, status, verdict):
        told.append(status)

    await accept(store, lanes)
    receiver = Receiver(Status.UNDER_WAY, Status.UNDER_WAY, Status.QUEUED, Status.REFUSED)
    async with pumping(store, lanes, receiver, clock, settled=settled):
        await until(has(store, lanes, under_way=1))
        for count, minutes in ((2, 1), (3, 5), (4, 15)):
            clock.advance(timedelta(minutes=minutes))
            await until(lambda count=count: asyncio.sleep(0, len(receiver.got) == count))
        await until(has(store, lanes, refused=1))
    assert told == [Status.UNDER_WAY, Status.REFUSED]


async def test_a_pump_says_what_is_in_its_hands_until_it_is_settled(store, lanes, clock):
    """A lane and a repeat both, also the repeat that the database shows as due later only."""
    receiver = Receiver()
    receiver.gate.clear()
    await under_way(store, lanes)
    await accept(store, lanes)
    async with pumping(store, lanes, receiver, clock) as pump:
        await until(lambda: asyncio.sleep(0, len(receiver.got) == 1))
        assert pump.busy == 1
        clock.advance(timedelta(minutes=1))
        await until(lambda: asyncio.sleep(0, len(receiver.got) == 2))
        assert pump.busy == 2
        receiver.gate.set()
        await until(has(store, lanes, delivered=2))
        await until(lambda: asyncio.sleep(0, pump.busy == 0))


async def test_a_pump_has_in_its_hands_what_it_has_just_taken(store, lanes, clock):
    """At no instant is a repeat neither due in the database nor counted by the pump."""
    await under_way(store, lanes)
    clock.advance(timedelta(minutes=1))
    receiver = Receiver()
    receiver.gate.clear()
    seen = []

    class Watched(Store):
        @contextlib.asynccontextmanager
        async def tx(self):
            async with store.tx() as tx:
                yield tx
            seen.append((len(receiver.got), pump.busy))

        def read(self):
            return store.read()

    pump = Pump(Watched("", schema="any"), lanes, receiver, clock=clock, poll=0.05)
    task = asyncio.create_task(pump.run())
    await until(lambda: asyncio.sleep(0, len(receiver.got) == 1))
    receiver.gate.set()
    pump.stop()
    await asyncio.wait_for(task, 10)
    assert seen[0] == (0, 1)


async def test_a_repeat_that_comes_late_tells_nobody_twice(store, lanes, clock):
    """Another node had the end first."""
    told = []

    async def settled(tx, message, status, verdict):
        told.append(status)

    message = await under_way(store, lanes)
    receiver = Receiver()
    receiver.gate.clear()
    clock.advance(timedelta(minutes=1))
    async with pumping(store, lanes, receiver, clock, settled=settled):
        await until(lambda: asyncio.sleep(0, len(receiver.got) == 1))
        async with store.tx() as tx:
            await lanes.repeated(tx, message, status=Status.DELIVERED, now=NOW)
        receiver.gate.set()
    assert told == []


async def test_a_pump_that_stops_finishes_what_it_sends_and_hands_back_the_rest(store, lanes, clock):
    """A deployment loses no time to leases."""
    for _ in range(3):
        await accept(store, lanes)
    receiver = Receiver()
    receiver.gate.clear()
    async with pumping(store, lanes, receiver, clock) as pump:
        await until(lambda: asyncio.sleep(0, len(receiver.got) == 1))
        pump.stop()
        receiver.gate.set()
    assert await has(store, lanes, delivered=1, queued=2)()
    (held,) = await claim(store, lanes)
    assert len(held.messages) == 2


async def test_a_pump_keeps_to_its_concurrency(store, lanes, clock):
    """No more attempts at a time than it was given, and all get their turn."""
    for case in "ABCDE":
        await accept(store, lanes, case)
    receiver = Receiver()
    receiver.gate.clear()
    async with pumping(store, lanes, receiver, clock, concurrency=2):
        await until(lambda: asyncio.sleep(0, len(receiver.got) == 2))
        await asyncio.sleep(0.1)
        assert len(receiver.got) == 2
        receiver.gate.set()
        await until(has(store, lanes, delivered=5))


async def test_a_pump_whose_claim_lapsed_goes_no_further_with_it(store, lanes, clock):
    """The rest of the claim is another's."""
    await accept(store, lanes)
    await accept(store, lanes)
    receiver = Receiver()
    receiver.gate.clear()
    async with pumping(store, lanes, receiver, clock, concurrency=1):
        await until(lambda: asyncio.sleep(0, len(receiver.got) == 1))
        await expire(store)
        (other,) = await claim(store, lanes, owner=OTHER)
        receiver.gate.set()
        await until(lambda: stale(store))
        assert len(receiver.got) == 1
        for message in other.messages:
            await settle(store, lanes, other, message, Status.DELIVERED)
    assert len(receiver.got) == 1


async def stale(store):
    return ("delivered", True) in await attempts(store)


async def test_a_pump_outlives_a_database_that_goes_away(store, lanes, clock):
    """A settlement that is lost is repeated after the lease; claims go on when the database is back."""
    breaks = iter([True])

    async def settled(tx, message, status, verdict):
        if next(breaks, False):
            raise StoreUnavailable

    class Flaky:
        def __init__(self):
            self.fails = 2

        def tx(self):
            if self.fails:
                self.fails -= 1
                raise StoreUnavailable
            return store.tx()

        read = store.read

    await accept(store, lanes)
    receiver = Receiver()
    async with pumping(Flaky(), lanes, receiver, clock, settled=settled):
        await until(lambda: asyncio.sleep(0, len(receiver.got) == 1))
        await asyncio.sleep(0.05)
        await expire(store)
        await until(has(store, lanes, delivered=1))
    assert len(receiver.got) == 2


async def test_a_pump_that_is_cancelled_leaves_its_claims_to_the_lease(store, lanes, clock):
    """Cancelling is a crash in slow motion: nothing is settled that was not answered."""
    await accept(store, lanes)
    receiver = Receiver()
    receiver.gate.clear()
    pump = Pump(store, lanes, receiver, clock=clock, poll=0.05)
    task = asyncio.create_task(pump.run())
    await until(lambda: asyncio.sleep(0, len(receiver.got) == 1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await has(store, lanes, sending=1)()
