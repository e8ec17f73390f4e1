# SPDX-License-Identifier: MPL-2.0
"""Who owes an answer, from when to when, whatever order things come in; and what is told of one message."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from conversing import ANSWER, EVENT, answer, event, final, say
from corridor import SYSTEMS, VIBORG, Corridor, besked_id, fine, message
from switching import refuse
from sygefravaer.contract import conversations
from sygefravaer.contract.codec import decode_request
from sygefravaer.contract.conversations import Answers, Asks, Topic, Withdraws
from sygefravaer.contract.operations import OPERATIONS
from sygefravaer.delivery import obligations
from sygefravaer.delivery.obligations import Kind
from sygefravaer.delivery.story import story
from sygefravaer.errors import NoSuchMessage, NothingOwed, Refused
from sygefravaer.lanes import Lanes

REQUEST, EXTENSION = "SendAnmodningForlaengelse", "SendForretningsSvarForlaengelse"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)  # a Monday
TUESDAY_ENDS = datetime(2026, 3, 3, 23, tzinfo=UTC)


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, budget=10, lanes=Lanes(jitter=lambda: 1.0)) as made:
        yield made


async def sent(corridor, name, envelope):
    told = await corridor.send(name, envelope)
    assert told.kode == "OK", told.body
    return envelope


async def owed(corridor, **only):
    return [(one.kind, one.besked_id) for one in await obligations.owed(corridor.store, **only)]


async def test_an_event_is_owed_an_answer_until_ksd_took_a_final_one(corridor):
    """From its delivery; by the municipality's system; due at the end of the next working day. MODTAGET is no end."""
    question = await sent(corridor, EVENT, event(uuid4()))
    (debt,) = await obligations.owed(corridor.store)
    started = say(answer(question), ForretningsValideringsKode="MODTAGET")
    await sent(corridor, ANSWER, started)
    still = await owed(corridor)
    closing = await sent(corridor, ANSWER, answer(question))
    row = (await corridor.rows("obligation"))[0]

    assert (debt.kind, debt.owner, debt.municipality_cvr) == (Kind.UNANSWERED_SF2090, SYSTEMS["viborg"], VIBORG)
    assert (debt.since, debt.due, debt.reminders, debt.name) == (NOW, TUESDAY_ENDS, 0, "viborg")
    assert debt.plain(NOW + timedelta(hours=1))["age"] == 3600
    assert still == [(Kind.UNANSWERED_SF2090, besked_id(question))]
    assert await owed(corridor) == []
    assert (row["settled_at"], row["settled_by"]) == (NOW, (await corridor.stored(closing))["message_id"])


async def test_an_answer_that_ksd_refuses_or_has_not_had_ends_nothing(corridor):
    """Nor one that refers to nothing, to another municipality's case, or comes twice."""
    question = await sent(corridor, EVENT, event(uuid4()))
    other = await sent(corridor, EVENT, event(uuid4()))

    async def no(_):
        raise Refused("T204")

    corridor.receivers["ksd"].answer = no
    assert (await corridor.send(ANSWER, answer(question))).code == "T204"
    corridor.receivers["ksd"].raw = refuse
    await corridor.send(ANSWER, answer(question))
    corridor.receivers["ksd"].raw, corridor.receivers["ksd"].answer = None, fine
    unknown = answer(event(uuid4()))
    await sent(corridor, ANSWER, unknown)
    await corridor.send(ANSWER, unknown)
    kinds = [one for one in await owed(corridor) if one[0] is not Kind.UNHEARD]

    assert kinds == [(Kind.UNANSWERED_SF2090, besked_id(each)) for each in (question, other)]


async def test_an_answer_to_a_newer_version_answers_the_older_ones(corridor):
    """Only those of the same case; and MODTAGET with FORAELDET_VERSION ends the one it names."""
    case = uuid4()
    first, second = [await sent(corridor, EVENT, event(case, version)) for version in (1, 2)]
    third = await sent(corridor, EVENT, event(case, 3))
    elsewhere = await sent(corridor, EVENT, event(uuid4(), 1))
    await sent(corridor, ANSWER, answer(second, 2))
    after_second = [one for _, one in await owed(corridor)]
    outdated = say(answer(third, 3), ForretningsValideringsKode="MODTAGET")
    listed = next(outdated.iter("{*}FejlListe"))
    reason = listed.makeelement(listed.tag.replace("FejlListe", "Begrundelse"))
    reason.text = "FORAELDET_VERSION"
    listed.getparent().replace(listed, reason)
    await sent(corridor, ANSWER, outdated)

    assert besked_id(first) not in after_second
    assert after_second == [besked_id(third), besked_id(elsewhere)]
    assert [one for _, one in await owed(corridor)] == [besked_id(elsewhere)]


async def test_an_answer_may_overtake_the_settlement_of_its_question(corridor):
    """The jobcentre answers before its receipt is written down here: the debt is ended as it is opened."""
    question = event(uuid4())

    async def answering_first(call):
        await sent(corridor, ANSWER, answer(question))
        return await fine(call)

    corridor.receivers["viborg"].answer = answering_first
    await sent(corridor, EVENT, question)
    (row,) = await corridor.rows("obligation")

    assert row["settled_at"] == NOW
    assert await owed(corridor) == []


async def test_neither_list_nor_reminder_believes_a_row_that_the_answers_contradict(corridor, clock):
    """Two settlements at one instant do not see each other: what is left then is a debt that was paid."""
    question = await sent(corridor, EVENT, event(uuid4()))
    await sent(corridor, ANSWER, answer(question))
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE obligation SET settled_at = NULL, settled_by = NULL")
    seen = await owed(corridor)
    clock.set(NOW + timedelta(days=30))
    given = await obligations.Reminders(corridor.store, clock).give()
    (row,) = await corridor.rows("obligation")

    assert (seen, given) == ([], 0)
    assert (row["settled_at"], row["reminders"]) == (NOW, 0)


async def test_a_request_is_one_debt_however_often_it_is_sent(corridor):
    """Due at the end of its Svarfrist; any of its messages may be referred to; KSD reminds."""
    case, asked = uuid4(), uuid4()

    def ask(number):
        return say(message(REQUEST, NemrefusionsID=case), AnmodningID=asked, Rykkernummer=number, SagsID=case)

    first = await sent(corridor, REQUEST, ask(0))
    again = await sent(corridor, REQUEST, ask(1))
    (debt,) = await obligations.owed(corridor.store)
    await sent(corridor, EXTENSION, final(EXTENSION, again, AnmodningID=asked))
    told = await story(corridor.store, (await corridor.stored(again))["message_id"])

    assert (debt.kind, debt.besked_id, debt.subject) == (Kind.UNANSWERED_SF2093, besked_id(first), asked)
    assert (debt.reminders, debt.due, debt.remind_at) == (1, datetime(2026, 4, 16, 22, tzinfo=UTC), None)
    assert await owed(corridor) == []
    assert [one.settles for one in told.answers] == [True]
    assert [(one.kind, one.settled_at) for one in told.debts] == [("unanswered_sf2093", NOW)]


async def test_the_end_of_a_case_withdraws_its_requests(corridor):
    """And leaves those of other cases; the event that ends it is owed an answer itself."""
    case, other = uuid4(), uuid4()
    for one in (case, other):
        await sent(
            corridor,
            REQUEST,
            say(message(REQUEST, NemrefusionsID=one), AnmodningID=uuid4(), Rykkernummer=0, SagsID=one),
        )
    ended = await sent(corridor, EVENT, event(case, 2, "AFSLUTTET"))
    left = await obligations.owed(corridor.store)

    assert [one.kind for one in left] == [Kind.UNANSWERED_SF2093, Kind.UNANSWERED_SF2090]
    assert left[1].besked_id == besked_id(ended)
    assert [one["case_id"] for one in await corridor.rows("obligation", "settled_at IS NOT NULL")] == [case]


async def test_reminders_are_given_once_when_due_and_a_week_later(corridor, clock, caplog):
    """By whichever node looks first; each leaves a row in the record and a warning; after two there are no more."""
    question = await sent(corridor, EVENT, event(uuid4()))
    nodes = [obligations.Reminders(corridor.store, clock) for _ in range(3)]
    given = []
    with caplog.at_level(logging.WARNING):
        for instant in (NOW, TUESDAY_ENDS, TUESDAY_ENDS, TUESDAY_ENDS + timedelta(days=7), NOW + timedelta(days=60)):
            clock.set(instant)
            given.append(sum(await asyncio.gather(*(node.give() for node in nodes))))
    (debt,) = await obligations.owed(corridor.store)
    rows = await corridor.rows("audit", "event = 'answer.reminded'")

    assert given == [0, 1, 0, 1, 0]
    assert (debt.reminders, debt.remind_at) == (2, None)
    assert [(row["besked_id"], row["system"], row["detail"]["reminder"]) for row in rows] == [
        (besked_id(question), SYSTEMS["viborg"], number) for number in (1, 2)
    ]
    assert [each.getMessage() for each in caplog.records].count("obligation.reminded") == 2


async def test_the_worker_reminds(corridor, clock):
    """Without being asked, on the clock of the business."""
    await sent(corridor, EVENT, event(uuid4()))
    corridor.work()
    clock.set(TUESDAY_ENDS)
    async with asyncio.timeout(20):
        while not await corridor.rows("audit", "event = 'answer.reminded'"):
            await asyncio.sleep(0.05)

    assert (await corridor.delivery.standing()).next is None


async def test_a_refusal_nobody_heard_is_owed_until_somebody_was_told(corridor):
    """In the same list; a person who tells it leaves his name in the record."""

    async def no(_):
        raise Refused("T201")

    corridor.receivers["ksd"].answer = no
    refused = answer(event(uuid4()))
    await corridor.send(ANSWER, refused)
    await corridor.heard()
    number = (await corridor.stored(refused))["message_id"]
    async with corridor.store.tx() as tx:  # as if the answer had not reached him
        await tx.run("UPDATE unheard SET told_at = NULL")
    (debt,) = await obligations.owed(corridor.store, owner=SYSTEMS["viborg"], municipality=VIBORG, kind=Kind.UNHEARD)
    await obligations.tell(corridor.store, number, by="drift", now=NOW)
    with pytest.raises(NothingOwed):
        await obligations.tell(corridor.store, number, by="drift", now=NOW)
    rows = await corridor.rows("audit", "event = 'message.told'")

    assert (debt.message_id, debt.due) == (number, None)
    assert [(row["besked_id"], row["detail"]) for row in rows] == [(besked_id(refused), {"by": "drift"})]
    assert await owed(corridor) == []


async def test_what_is_parked_raises_an_alarm_with_its_cause(corridor, caplog):
    """Once for each message."""
    corridor.receivers["viborg"].raw = refuse
    with caplog.at_level(logging.WARNING):
        await corridor.send(EVENT, event(uuid4()))
    alarms = [each for each in caplog.records if each.getMessage() == "delivery.alarm"]

    assert [(each.municipality, bool(each.cause)) for each in alarms] == [(VIBORG, True)]


async def test_a_story_has_attempts_answers_and_debts(corridor):
    """Each attempt with its time, outcome, length, node, and when the next one is."""

    async def broken(_):
        raise RuntimeError("not now")

    corridor.receivers["viborg"].answer = broken
    question = event(uuid4())
    assert (await corridor.send(EVENT, question)).kode == "ADVARSEL"
    corridor.receivers["viborg"].answer = fine
    corridor.clock.set(NOW + timedelta(seconds=1))
    corridor.work()
    await corridor.until(question, "delivered")
    await sent(corridor, ANSWER, answer(question))
    told = await story(corridor.store, (await corridor.stored(question))["message_id"])
    first, last = told.attempts

    assert (told.status, told.asks, told.besked_id) == ("delivered", True, besked_id(question))
    assert (first.outcome, first.again_at) == ("queued", NOW + timedelta(seconds=1))
    assert (last.outcome, last.again_at, last.at) == ("delivered", None, NOW + timedelta(seconds=1))
    assert all(each.took > 0 and each.node is not None and not each.stale for each in told.attempts)
    assert [(one.status, one.settles) for one in told.answers] == [("delivered", True)]
    assert [(one.kind, one.reminders) for one in told.debts] == [("unanswered_sf2090", 0)]
    assert told.plain()["attempts"][0]["node"] == str(first.node)
    with pytest.raises(NoSuchMessage):
        await story(corridor.store, 999_999)


@pytest.mark.parametrize("name", OPERATIONS)
def test_only_questions_and_their_answers_are_talk(name):
    """What the table says of the samples: who asks, who answers; nobody else is part of a conversation."""
    operation = OPERATIONS[name]
    said = {
        EVENT: (Asks, Topic.EVENT),
        ANSWER: (Answers, Topic.EVENT),
        REQUEST: (Asks, Topic.EXTENSION),
        EXTENSION: (Answers, Topic.EXTENSION),
    }.get(name)
    if said is None:
        assert operation.conversation is None
        return
    (fact,) = operation.conversation.said(decode_request(operation, message(name)[-1][0]))
    kind, topic = said

    assert (type(fact), fact.topic, operation.conversation.asks) == (kind, topic, kind is Asks)


def test_what_an_ending_event_and_a_request_say():
    """An end withdraws the case's requests; a request says the day until which it may be answered."""
    case = uuid4()
    ending = decode_request(OPERATIONS[EVENT], event(case, 2, "AFSLUTTET")[-1][0])
    request = decode_request(OPERATIONS[REQUEST], message(REQUEST)[-1][0])

    assert conversations.EVENT.said(ending)[1] == Withdraws(topic=Topic.EXTENSION, case=case)
    assert conversations.REQUEST.said(request)[0].until == date(2026, 4, 16)
