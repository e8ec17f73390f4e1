# SPDX-License-Identifier: MPL-2.0
"""What waits for a person: grouped by cause, planned, let go again in order, or ended with a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corridor import AARHUS, SYSTEMS, VIBORG, Corridor, besked_id, message
from switching import NEW, OLD, change, check_lanes, down, events, later, refuse, rest, silent
from sygefravaer.agreements import Route
from sygefravaer.contract.operations import Service
from sygefravaer.delivery import Act, Selection, plan_of
from sygefravaer.delivery.parked import Found, check_words
from sygefravaer.errors import NoSuchMessage, NotParked, PlanChanged, UsageError
from sygefravaer.lanes import Lanes

EVENT = "SendHaendelseSygefravaerssag"
ANSWER = "SendForretningsSvar"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, budget=3, timeout=0.5, lanes=Lanes(jitter=lambda: 1.0)) as made:
        made.work()
        yield made


def event(case=None, *, kind=None, version=None, **fields):
    """Make an event of a case, of a Haendelsestype and a SagsVersion."""
    made = message(EVENT, NemrefusionsID=case or uuid4(), **fields)
    for name, value in (("Haendelsestype", kind), ("SagsVersion", version)):
        if value is not None:
            next(made.iter("{*}" + name)).text = str(value)
    if kind == "AFSLUTTET":
        case = next(made.iter("{*}Sygefravaerssag"))
        assert case is not None
    return made


async def parked(corridor, *envelopes, name=EVENT):
    """Send messages to a receiver that refuses them without a receipt, and let it be well again."""
    for receiver in corridor.receivers.values():
        receiver.raw = refuse
    for envelope in envelopes:
        await corridor.send(name, envelope, caller="ksd")
    await rest(corridor)
    for receiver in corridor.receivers.values():
        receiver.raw = None
    return [(await corridor.stored(envelope))["message_id"] for envelope in envelopes]


async def plan(corridor, *ids, **selected):
    return await corridor.parked.plan(Selection(ids=ids, **selected), now=corridor.clock.now())


# --- by cause ---


async def test_causes_are_counted_with_what_waits_behind(corridor):
    """The first thing an operator sees: why, where, how many, in how many lanes, since when, and what they hold up."""
    case = uuid4()
    await parked(corridor, event(case), event(case), event(case), event())
    await down(corridor, NEW)
    gone = event(cvr=AARHUS)
    await corridor.send(EVENT, gone)
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE route SET valid_to = '2026-03-01' WHERE municipality_cvr = %(cvr)s", cvr=AARHUS)
    await later(corridor)

    found = [dict(row) for row in await corridor.parked.groups()]

    assert found == [
        {
            "cause": "Client",
            "recipient": SYSTEMS[OLD],
            "name": OLD,
            "messages": 2,
            "municipalities": 1,
            "oldest": NOW,
            "lanes": 2,
            "behind": 2,
        },
        {
            "cause": "no route",
            "recipient": SYSTEMS[NEW],
            "name": NEW,
            "messages": 1,
            "municipalities": 1,
            "oldest": NOW,
            "lanes": 1,
            "behind": 0,
        },
    ]
    assert [row["cause"] for row in await corridor.parked.groups(municipality=AARHUS)] == ["no route"]
    assert [row["cause"] for row in await corridor.parked.groups(recipient=SYSTEMS[OLD])] == ["Client"]


# --- plan and run ---


async def test_replay_lets_the_lane_go_in_order_and_is_marked(corridor):
    """What goes, what waits behind it; afterwards who, when and by which plan."""
    case = uuid4()
    sent = [event(case) for _ in range(3)]
    first, *_ = await parked(corridor, *sent)
    shown = await plan(corridor, first)
    (step,) = shown.steps
    waiting = [(await corridor.stored(each))["message_id"] for each in sent[1:]]

    done = await corridor.parked.run(shown.digest, shown.selection, who="drift", now=corridor.clock.now())
    corridor.delivery.wake()
    await rest(corridor)

    assert (step.act, step.cause, step.goes_to, step.findings) == (Act.REPLAY, "Client", SYSTEMS[OLD], ())
    assert (step.waits, list(step.behind)) == (2, waiting)
    assert done.replayed == (first,)
    assert corridor.receivers[OLD].came == [besked_id(each) for each in sent]
    (mark,) = await corridor.rows("replay")
    assert (mark["message_id"], mark["who"], mark["at"], mark["plan"]) == (first, "drift", NOW, shown.digest)
    assert await events(corridor, "message.replayed") == [{"by": "drift", "plan": shown.digest}]


async def test_replayed_message_has_five_days_anew(corridor):
    """Given up and let go again, it is tried for five days more."""
    corridor.receivers[OLD].raw = silent
    sent = event()
    await corridor.send(EVENT, sent)
    await later(corridor, timedelta(days=5, seconds=1))
    before = await corridor.stored(sent)

    await corridor.replay(before["message_id"])
    await rest(corridor)
    await later(corridor, timedelta(days=4))
    after = await corridor.stored(sent)

    assert (before["status"], before["detail"]) == ("parked", "given up HTTP 503")
    assert (after["status"], after["first_attempt_at"]) == ("queued", NOW + timedelta(days=5, seconds=1))
    with pytest.raises(NotParked):
        await corridor.replay(before["message_id"])


async def test_plan_that_is_not_so_any_more_does_nothing(corridor):
    """Somebody else replayed, discarded, or changed the route: the plan is refused whole. What only came behind is not."""
    one, other, case = event(), event(), uuid4()
    ids = await parked(corridor, one, other, event(case))
    shown = await plan(corridor, cause="Client")
    await corridor.send(EVENT, event(case))
    same = await plan(corridor, cause="Client")
    await change(corridor, NEW)
    with pytest.raises(PlanChanged):
        await corridor.parked.run(shown.digest, shown.selection, who="drift", now=corridor.clock.now())
    corridor.clock.advance(timedelta(seconds=1))
    await change(corridor, OLD)
    await corridor.discard(ids[1], reason="dobbelt")
    with pytest.raises(PlanChanged):
        await corridor.parked.run(shown.digest, shown.selection, who="drift", now=corridor.clock.now())

    assert same.digest == shown.digest
    assert [step.waits for step in same.steps] == [0, 0, 1]
    assert await corridor.rows("replay") == []
    assert {(await corridor.stored(each))["status"] for each in (one, other)} == {"parked", "discarded"}


async def test_selection_is_by_number_cause_receiver_and_municipality(corridor):
    """All that is given must fit; a number that is not parked is an error."""
    ids = await parked(corridor, event(), event(cvr=AARHUS))

    async def chosen(*numbers, **selected):
        return [step.message_id for step in (await plan(corridor, *numbers, **selected)).steps]

    assert await chosen() == ids
    assert await chosen(cause="Client") == ids
    assert await chosen(cause="no route") == []
    assert await chosen(municipality=AARHUS) == [ids[1]]
    assert await chosen(recipient=SYSTEMS[OLD]) == [ids[0]]
    assert await chosen(ids[1], cause="Client") == [ids[1]]
    with pytest.raises(NotParked):
        await chosen(ids[0], 999)


async def test_plan_shows_closed_cases_and_versions_that_lie_there_twice(corridor):
    """A later event that ends the case is read from what was accepted, in whichever system's lane it lies."""
    ended, open_, twice = uuid4(), uuid4(), uuid4()
    sent = [event(ended), event(open_), event(twice, version=7)]
    ids = await parked(corridor, *sent)
    ending = event(ended, kind="AFSLUTTET")
    await corridor.send(EVENT, ending)
    await corridor.send(EVENT, event(open_, kind="AENDRET"))
    await change(corridor, NEW)
    again = await parked(corridor, event(twice, version=7))
    number = (await corridor.stored(ending))["message_id"]

    found = {step.message_id: step.findings for step in (await plan(corridor)).steps}

    assert any(f"message {number}, accepted later, says that it has ended" in each for each in found[ids[0]])
    assert not any("ended" in each for each in found[ids[1]])
    for one in (ids[2], *again):
        assert any("version 7" in each for each in found[one])


# --- a changed route ---


async def test_replay_moves_a_lane_to_the_system_of_today(corridor):
    """The message and all behind it go to the new system in order; the old one gets none of it."""
    case = uuid4()
    sent = [event(case) for _ in range(3)]
    first, *_ = await parked(corridor, *sent)
    await change(corridor, NEW)
    (step,) = (await plan(corridor, first)).steps

    done = await corridor.replay(first)
    await rest(corridor)

    assert (step.act, step.goes_to) == (Act.MOVE, SYSTEMS[NEW])
    assert step.findings == ("changed route: it goes to another system than it was accepted for",)
    assert (done.moved, done.replayed, done.left) == ((first,), (), ())
    assert corridor.receivers[OLD].came == []
    assert corridor.receivers[NEW].came == [besked_id(each) for each in sent]
    assert await events(corridor, "message.moved") == [{"by": "drift", "from": str(SYSTEMS[OLD])}] * 3
    await check_lanes(corridor)


async def test_what_another_system_may_have_goes_only_when_a_person_says_so(corridor):
    """By default it stays parked; with `duplicates` it goes, seen and said."""
    corridor.receivers[OLD].raw = silent
    sent = event()
    await corridor.send(EVENT, sent)
    await later(corridor, timedelta(days=5, seconds=1))
    await change(corridor, NEW)
    number = (await corridor.stored(sent))["message_id"]

    held = await corridor.replay(number)
    before = await corridor.stored(sent)
    done = await corridor.replay(number, duplicates=True)
    await rest(corridor)

    assert held.left == ((number, "another system may have it already"),)
    assert before["status"] == "parked"
    assert done.moved == (number,)
    assert corridor.receivers[NEW].came == [besked_id(sent)]


async def test_replay_waits_for_a_lane_that_is_held(corridor):
    """While somebody sends in the lane it goes to, a parked message stays where it is, and the operator is told."""
    case = uuid4()
    first, *_ = await parked(corridor, event(case))
    await change(corridor, NEW)
    await corridor.send(EVENT, event(case))
    async with corridor.store.tx() as tx:
        await tx.run(
            "UPDATE lane SET token = gen_random_uuid(), lease_until = clock_timestamp() + interval '1 hour'"
            " WHERE recipient = %(new)s",
            new=SYSTEMS[NEW],
        )

    done = await corridor.replay(first)

    assert done.left == ((first, "the lane it goes to is held just now"),)
    assert [row["status"] for row in await corridor.rows("message", "message_id = %(id)s", id=first)] == ["parked"]
    assert await corridor.rows("replay") == []


# --- discard ---


async def test_discard_needs_words_that_name_nobody(corridor):
    """A reason and a name, without anybody's number; and something that is parked."""
    (number,) = await parked(corridor, event())
    for who, reason, code in (
        ("", "dobbelt", "WordsMissing"),
        ("drift", " ", "WordsMissing"),
        ("drift", "det var 010150-5001", "WordsHoldNumber"),
        ("0101505001", "dobbelt", "WordsHoldNumber"),
    ):
        with pytest.raises(UsageError) as refused:
            await corridor.discard(number, who=who, reason=reason)
        assert refused.value.code == code
        assert "0101" not in str(refused.value)
    with pytest.raises(NoSuchMessage):
        await corridor.discard(999, reason="dobbelt")


@given(st.integers(min_value=0, max_value=9_999_999))
def test_case_numbers_of_up_to_seven_digits_may_be_named(number):
    """An operator's own number of a ticket is no personal number."""
    assert check_words(f"se sag {number} ", "The reason") == f"se sag {number}"


# --- the plan is a function ---

WAY = Route(
    route_id=UUID(int=9),
    service=Service.SYGEFRAVAER_JC,
    municipality_cvr=VIBORG,
    system_id=SYSTEMS[OLD],
    url="https://x",
    takes_substitute=False,
    valid_from=NOW.date(),
)
FOUND = Found(
    message_id=1,
    lane_id=1,
    besked_id=UUID(int=1),
    operation=EVENT,
    municipality_cvr=VIBORG,
    cause="Client",
    accepted_at=NOW,
    recipient=SYSTEMS[OLD],
    way=WAY,
    may_have=False,
    attempts=1,
    waits=0,
    behind=(),
    barred="",
    closed_by=None,
    version=None,
)


@pytest.mark.parametrize(
    ("read", "duplicates", "act", "held"),
    [
        ({}, False, Act.REPLAY, ""),
        ({"may_have": True}, False, Act.REPLAY, ""),
        ({"way": None}, False, Act.HOLD, "no route"),
        ({"recipient": SYSTEMS[NEW]}, False, Act.MOVE, ""),
        ({"recipient": SYSTEMS[NEW], "may_have": True}, False, Act.HOLD, "another system may have it already"),
        ({"recipient": SYSTEMS[NEW], "may_have": True}, True, Act.MOVE, ""),
        ({"recipient": SYSTEMS[NEW], "barred": "no"}, True, Act.HOLD, "no"),
    ],
)
def test_what_a_lane_comes_to(read, duplicates, act, held):
    """One row for each reason to go, to go elsewhere, and to stay."""
    (step,) = plan_of(Selection(duplicates=duplicates), [replace(FOUND, **read)]).steps

    assert (step.act, step.held) == (act, held)
    assert any("duplicate" in finding for finding in step.findings) == (read.get("may_have", False))


def test_digest_covers_what_was_shown_and_not_what_came_behind():
    """Every field of what was read changes the plan's name, but for those that grow while a lane stands still."""
    base = plan_of(Selection(), [FOUND]).digest
    changes = {
        "message_id": 2,
        "cause": "no route",
        "recipient": SYSTEMS[NEW],
        "way": None,
        "may_have": True,
        "attempts": 2,
        "closed_by": 5,
    }

    for name, value in changes.items():
        assert plan_of(Selection(), [replace(FOUND, **{name: value})]).digest != base
    assert plan_of(Selection(duplicates=True), [FOUND]).digest != base
    assert plan_of(Selection(), [replace(FOUND, waits=3, behind=(4, 5, 6))]).digest == base
