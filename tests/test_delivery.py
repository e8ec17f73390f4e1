# SPDX-License-Identifier: MPL-2.0
"""What was accepted is delivered in order, settled once, and visibly stuck when nobody answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from corridor import SYSTEMS, VIBORG, Corridor, Receiver, besked_id, fine, message, receipt
from sygefravaer import soap
from sygefravaer.client import Kind, Outcome
from sygefravaer.contract.codec import encode_receipt
from sygefravaer.contract.messages import kvittering_advarsel, kvittering_fejl
from sygefravaer.delivery import Receivers
from sygefravaer.delivery.carrying import _safe
from sygefravaer.errors import NoSuchMessage, NotParked, Refused
from sygefravaer.lanes import Lanes
from sygefravaer.vault import Vault

EVENT = "SendHaendelseSygefravaerssag"
ANSWER = "SendForretningsSvar"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, budget=1.0, lanes=Lanes(jitter=lambda: 1.0)) as made:
        yield made


@pytest.fixture
def ksd(corridor) -> Receiver:
    return corridor.receivers["ksd"]


def answering(*replies):
    """Give one reply after the other, the last one for ever; an exception is raised, a coroutine awaited."""
    queue = list(replies)

    async def answer(call):
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if callable(reply):
            return await reply(call)
        if isinstance(reply, Exception):
            raise reply
        return receipt(reply)

    return answer


def raw(status: int, body: bytes = b"", *, cut: bool = False):
    """Make an application that answers every request with these bytes."""

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        if cut:
            return
        headers = [(b"content-type", b"text/xml"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def fault(faultcode: str, detail: bytes = b"") -> bytes:
    return soap.wrap(
        b"<soap:Fault><faultcode>soap:" + faultcode.encode() + b"</faultcode><faultstring>x</faultstring>"
        b"<detail>" + detail + b"</detail></soap:Fault>"
    )


# --- what an attempt comes to ---


@pytest.mark.parametrize(
    ("app", "status", "kode"),
    [
        (raw(500, fault("Server")), "queued", "ADVARSEL"),
        (raw(503), "queued", "ADVARSEL"),
        (raw(200, b"<html/>"), "queued", "ADVARSEL"),
        (raw(200, cut=True), "queued", "ADVARSEL"),
        (raw(500, fault("Client")), "parked", "ADVARSEL"),
        (raw(500, fault("Server", encode_receipt(kvittering_fejl("T201")))), "refused", "FEJL"),
        (raw(500, fault("Client", encode_receipt(kvittering_advarsel("F307")))), "delivered", "ADVARSEL"),
    ],
)
async def test_outcome_of_an_attempt(corridor, ksd, app, status, kode):
    """A receipt decides wherever it stands; a Client fault without one parks; everything else is tried again."""
    ksd.raw = app
    sent = message(ANSWER)

    told = await corridor.send(ANSWER, sent)

    row = await corridor.stored(sent)
    assert (told.status, told.kode, row["status"]) == (200, kode, status)
    assert (told.code == "G006") == (row["receipt"] is None)
    assert row["failures"] == (1 if status == "queued" else 0)


async def test_g006_from_a_receiver_is_no_answer(corridor, ksd):
    """A receiver that says G006 has not answered: the message goes again."""
    ksd.answer = answering(kvittering_advarsel("G006"), fine)
    sent = message(ANSWER)
    corridor.work()

    told = await corridor.send(ANSWER, sent)
    corridor.clock.advance(timedelta(seconds=2))
    await corridor.until(sent, "delivered")

    assert (told.kode, told.code) == ("ADVARSEL", "G006")
    assert ksd.came == [besked_id(sent)] * 2
    assert (await corridor.send(ANSWER, sent)).kode == "OK"


async def test_receiver_that_is_down_gets_it_when_it_is_back(corridor, ksd):
    """Stored, G006, tried again by the schedule, delivered once; what came behind follows in order."""
    port = ksd.server.port
    await ksd.server.stop()
    same = uuid4()
    sent = [message(ANSWER, NemrefusionsID=same) for _ in range(3)]
    corridor.work()

    told = [await corridor.send(ANSWER, each) for each in sent]
    ksd.server.port = port
    await ksd.server.start()
    corridor.clock.advance(timedelta(seconds=1))
    for each in sent:
        await corridor.until(each, "delivered")

    assert {(one.status, one.code) for one in told} == {(200, "G006")}
    assert ksd.came == [besked_id(each) for each in sent]
    assert [row["outcome"] for row in await corridor.rows("attempt")] == ["queued", *["delivered"] * 3]


async def test_budget_ends_the_waiting_not_the_attempt(corridor, ksd):
    """The caller hears G006 after the budget; the attempt goes on, and its end is what a repeat hears."""
    go = asyncio.Event()

    async def later(call):
        await go.wait()
        return await fine(call)

    ksd.answer = later
    sent = message(ANSWER)

    first = await corridor.send(ANSWER, sent)
    during = await corridor.send(ANSWER, sent)
    go.set()
    await corridor.until(sent, "delivered")
    after = await corridor.send(ANSWER, sent)

    assert [one.code for one in (first, during, after)] == ["G006", "G006", None]
    assert len(ksd.calls) == 1


async def test_message_behind_another_waits_for_it(corridor, ksd):
    """A busy lane: G006 at once, no claim; the worker carries it when the one before has ended."""
    go = asyncio.Event()

    async def later(call):
        await go.wait()
        return await fine(call)

    ksd.answer = answering(later, fine)
    same = uuid4()
    first, second, other = (message(ANSWER, NemrefusionsID=each) for each in (same, same, uuid4()))
    corridor.work()

    told = [await corridor.send(ANSWER, each) for each in (first, second, other)]
    row = await corridor.stored(second)
    go.set()
    await corridor.until(second, "delivered")

    assert [one.code for one in told] == ["G006", "G006", None]
    assert row["status"] == "queued"
    assert ksd.came == [besked_id(each) for each in (first, other, second)]


# --- stuck, and what a person does ---


async def test_parked_message_stops_its_lane_until_replayed(corridor, ksd):
    """Nothing behind a parked message leaves; a replay lets both go, by the route of the day."""
    ksd.raw = raw(500, fault("Client"))
    same = uuid4()
    first, second = message(ANSWER, NemrefusionsID=same), message(ANSWER, NemrefusionsID=same)
    corridor.work()
    await corridor.send(ANSWER, first)
    told = await corridor.send(ANSWER, second)
    ksd.raw = None
    parked = await corridor.stored(first)
    counts = await corridor.delivery.counts()

    assert (told.code, (await corridor.stored(second))["status"]) == ("G006", "queued")
    assert (counts["parked"], counts["queued"]) == (1, 1)
    assert (await corridor.replay(parked["message_id"])).replayed == (parked["message_id"],)
    await corridor.until(second, "delivered")
    assert ksd.came == [besked_id(first), besked_id(second)]
    for number in (parked["message_id"], 999):
        with pytest.raises(NotParked):
            await corridor.replay(number)
    replayed = [row for row in await corridor.rows("audit") if row["event"] == "message.replayed"]
    assert [row["detail"]["by"] for row in replayed] == ["drift"]


async def test_discarded_message_is_refused_for_good(corridor, ksd):
    """G009 is the final receipt; until the sender hears it, it is a debt; what is behind goes on."""
    ksd.raw = raw(500, fault("Client"))
    same = uuid4()
    first, second = message(ANSWER, NemrefusionsID=same), message(ANSWER, NemrefusionsID=same)
    corridor.work()
    await corridor.send(ANSWER, first)
    await corridor.send(ANSWER, second)
    ksd.raw = None
    number = (await corridor.stored(first))["message_id"]

    await corridor.discard(number, reason="dobbelt")
    await corridor.until(second, "delivered")
    owed = (await corridor.delivery.counts())["unheard"]
    told = [await corridor.send(ANSWER, first) for _ in range(2)]
    await corridor.heard()

    assert owed == 1
    assert {(one.status, one.kode, one.code) for one in told} == {(200, "FEJL", "G009")}
    assert told[0].body == told[1].body
    assert ksd.came == [besked_id(second)]
    with pytest.raises(NotParked):
        await corridor.discard(number, reason="igen")
    with pytest.raises(NoSuchMessage):
        await corridor.discard(999, reason="ukendt")


async def test_refusal_that_nobody_heard_is_a_debt(corridor, ksd):
    """A FEJL that came after G006 is owed to the sender until a repeat has told it; the lane goes on meanwhile."""
    go = asyncio.Event()

    async def no(_):
        await go.wait()
        raise Refused("T201")

    ksd.answer = answering(no, fine)
    same = uuid4()
    first, second = message(ANSWER, NemrefusionsID=same), message(ANSWER, NemrefusionsID=same)
    corridor.work()
    await corridor.send(ANSWER, first)
    await corridor.send(ANSWER, second)
    go.set()
    await corridor.until(second, "delivered")
    (owed,) = await corridor.rows("unheard")
    told = await corridor.send(ANSWER, first)
    await corridor.heard()
    (paid,) = await corridor.rows("unheard")

    assert (owed["sender"], owed["municipality_cvr"], owed["told_at"]) == (SYSTEMS["viborg"], VIBORG, None)
    assert (told.kode, told.code, paid["told_at"]) == ("FEJL", "T201", NOW)


async def test_five_days_without_an_answer_parks(corridor, ksd):
    """After five days since its first attempt a person decides."""
    ksd.raw = raw(503)
    sent = message(ANSWER)
    corridor.work()
    await corridor.send(ANSWER, sent)
    corridor.clock.advance(timedelta(days=5, seconds=-1))
    async with asyncio.timeout(5):
        while (await corridor.stored(sent))["failures"] < 2:
            await asyncio.sleep(0.01)
    before = await corridor.stored(sent)
    corridor.clock.advance(timedelta(hours=4))
    after = await corridor.until(sent, "parked")

    assert before["status"] == "queued"
    assert after["detail"].startswith("given up")
    assert (await corridor.rows("audit"))[-1]["event"] == "message.parked"


@pytest.mark.parametrize("change", ["gone", "key"])
async def test_message_that_has_no_way_parks(corridor, ksd, change, tmp_path):
    """No route any more, or a body that no key opens: a person decides."""
    ksd.raw = raw(503)
    sent = message(ANSWER)
    await corridor.send(ANSWER, sent)
    async with corridor.store.tx() as tx:
        if change == "gone":
            await tx.run("DELETE FROM route")
    if change == "key":
        corridor.delivery._vault = Vault.create_file(tmp_path / "other.json")
    corridor.work()
    corridor.clock.advance(timedelta(seconds=1))

    row = await corridor.until(sent, "parked")

    wanted = {"gone": "no route", "key": "cannot be opened"}[change]
    assert wanted in row["detail"]
    assert ksd.calls == []


# --- the worker ---


async def test_worker_takes_over_what_a_dead_process_held(corridor, ksd):
    """A claim whose lease has lapsed is carried by whoever finds it, and its old owner settles nothing."""
    go = asyncio.Event()

    async def later(call):
        await go.wait()
        return await fine(call)

    ksd.answer = answering(later, fine)
    sent = message(ANSWER)
    await corridor.send(ANSWER, sent)
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE lane SET lease_until = clock_timestamp() - interval '1 second'")
    corridor.work()
    await corridor.until(sent, "delivered")
    before = await corridor.stored(sent)
    go.set()
    async with asyncio.timeout(5):
        while len(await corridor.rows("attempt")) < 3:
            await asyncio.sleep(0.01)

    assert ksd.came == [besked_id(sent)] * 2
    assert [(row["outcome"], row["stale"]) for row in await corridor.rows("attempt")] == [
        ("unknown", False),
        ("delivered", False),
        ("delivered", True),
    ]
    assert await corridor.stored(sent) == before


async def test_many_lanes_of_a_dead_receiver_do_not_delay_the_others(corridor):
    """With one municipality's system silent, another's messages go through the worker at once."""
    never = asyncio.Event()

    async def silent(_):
        await never.wait()

    corridor.receivers["viborg"].answer = silent
    corridor.receivers["aarhus"].raw = raw(503)
    stuck = [message(EVENT, NemrefusionsID=uuid4()) for _ in range(30)]
    await asyncio.gather(*(corridor.send(EVENT, each) for each in stuck))
    other = message(EVENT, cvr="55133018", NemrefusionsID=uuid4())
    await corridor.send(EVENT, other)
    corridor.receivers["aarhus"].raw = None
    corridor.work()
    corridor.clock.advance(timedelta(seconds=1))
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE lane SET lease_until = clock_timestamp() - interval '1 second' WHERE open > 0")

    await corridor.until(other, "delivered")
    never.set()


async def test_receiver_that_is_silent_rests(corridor, ksd):
    """After five failures in a row callers do not wait for it any more; after its rest one tries whether it is back."""
    ksd.raw = raw(503)
    for _ in range(5):
        await corridor.send(ANSWER, message(ANSWER, NemrefusionsID=uuid4()))
    ksd.raw = None
    sent = message(ANSWER, NemrefusionsID=uuid4())

    told = await corridor.send(ANSWER, sent)
    corridor.work()
    await asyncio.sleep(0.1)
    resting = len(ksd.calls)
    corridor.clock.advance(timedelta(seconds=5))
    await corridor.until(sent, "delivered")

    assert (told.code, resting) == ("G006", 0)
    assert (await corridor.send(ANSWER, message(ANSWER, NemrefusionsID=uuid4()))).kode == "OK"


def test_receiver_rests_longer_each_time():
    """One second, two, four ... a minute at most; an answer ends it."""
    receivers, system, sender = Receivers(inline=2, patience=2), uuid4(), uuid4()
    rests = []
    for _ in range(10):
        receivers.heard(system, NOW, answered=False)
        until = receivers.rested(NOW)
        rests.append(until and (until - NOW).total_seconds())

    assert rests == [None, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert receivers.busy(NOW) == [system]
    assert not receivers.free(system, NOW, sender=sender)
    assert receivers.free(system, NOW + timedelta(seconds=60), sender=sender)
    receivers.heard(system, NOW, answered=True)
    assert receivers.busy(NOW) == []
    receivers.of(system).inline = 2
    assert not receivers.free(system, NOW, sender=sender)


async def test_stopping_hands_back_what_was_not_sent(corridor, ksd):
    """A worker that is stopped finishes the message it is sending and leaves the rest of the lane to the next one."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def later(call):
        begun.set()
        await go.wait()
        return await fine(call)

    ksd.raw = raw(503)
    same = uuid4()
    sent = [message(ANSWER, NemrefusionsID=same) for _ in range(3)]
    for each in sent:
        await corridor.send(ANSWER, each)
    ksd.raw, ksd.answer = None, later
    corridor.work()
    corridor.clock.advance(timedelta(seconds=1))
    await begun.wait()
    stopping = asyncio.create_task(corridor.delivery.stop(patience=5))
    await asyncio.sleep(0.05)
    go.set()
    await stopping

    assert [row["status"] for row in await corridor.rows("message")] == ["delivered", "queued", "queued"]
    (lane,) = await corridor.rows("lane")
    assert (lane["token"], lane["open"]) == (None, 2)


async def test_worker_waits_for_a_database_that_is_away(corridor, caplog):
    """The worker does not end when a statement fails; it looks again."""
    async with corridor.store.tx() as tx:
        await tx.run("ALTER TABLE lane RENAME TO elsewhere")
    corridor.work()
    await asyncio.sleep(0.1)
    async with corridor.store.tx() as tx:
        await tx.run("ALTER TABLE elsewhere RENAME TO lane")
    corridor.delivery.wake()
    sent = message(ANSWER)
    told = await corridor.send(ANSWER, sent)

    assert told.kode == "OK"
    assert not corridor.worker.done()
    assert "worker.store" in caplog.text


async def test_attempt_that_cannot_be_settled_is_left_to_its_lease(corridor, ksd, caplog):
    """When the outcome cannot be written the caller hears G006; the message stays claimed and will go again."""

    async def breaks(call):
        async with corridor.store.tx() as tx:
            await tx.run("ALTER TABLE attempt RENAME TO elsewhere")
        return await fine(call)

    ksd.answer = breaks
    sent = message(ANSWER)

    told = await corridor.send(ANSWER, sent)

    assert (told.status, told.code) == (200, "G006")
    assert (await corridor.stored(sent))["status"] == "sending"
    assert "delivery.failed" in caplog.text


async def test_what_is_due_can_be_asked(corridor, ksd):
    """The next instant, and how many are on their way: what a sandbox waits for before it moves the clock."""
    ksd.raw = raw(503)
    nothing = await corridor.delivery.due()
    await corridor.send(ANSWER, message(ANSWER))

    assert nothing == (None, 0)
    assert await corridor.delivery.due() == (NOW + timedelta(seconds=1), 0)
    assert (await corridor.delivery.counts())["queued"] == 1


def test_word_of_a_receiver_is_kept_only_as_far_as_it_is_a_code():
    """What a receiver writes where a code belongs may be anything; no number of a person passes."""
    said = Outcome(kind=Kind.FEJL, detail="T201 0101505012 O409 Jens&Co A0101505012 503 H501,")

    assert _safe(said.detail) == "T201 O409 503"
    assert _safe(replace(said, detail="no route").detail) == "no route"
