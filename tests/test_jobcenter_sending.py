# SPDX-License-Identifier: MPL-2.0
"""How a jobcentre sends: order, repeats, refusals, what was too old, and what nobody answers."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from jobcenter_rig import JC_SYSTEM, OTHER_CPR, ended, later, sag, said, scene
from sygefravaer.contract import codec
from sygefravaer.contract.messages import kvittering_advarsel, kvittering_fejl, kvittering_ok
from sygefravaer.errors import ActRefused, MalformedRequest, NoAnswer, StoreUnavailable
from sygefravaer.lanes import Lanes, Status


@pytest.fixture
def play(make_store, vault, clock, pki):
    """Give a way to start a scene."""

    def start(**options):
        return scene(make_store=make_store, vault=vault, clock=clock, pki=pki, **options)

    return start


M2 = "SendForretningsSvar"
START = datetime(2026, 3, 2, 9, tzinfo=UTC)


async def sent(it, number: int = 0):
    """Give a row of what was sent, the newest first."""
    return (await it.act("messages"))["sent"][number]


async def test_a_receipt_is_kept_with_its_remarks(play):
    """OK and a final ADVARSEL are delivered."""
    async with play() as it:
        it.gateway.says(M2, kvittering_ok(), kvittering_advarsel("F306"))
        await it.tell(it.m1(sag()))
        await it.until(lambda: len(it.gateway.m2) == 2)
        await it.quiet()
        rows = {row["content"]: (row["receipt"], row.get("codes")) for row in (await it.act("messages"))["sent"]}
        assert rows == {"MODTAGET": ("ok", []), "ACCEPTERET": ("advarsel", ["F306"])}


async def test_g006_is_repeated_byte_for_byte_until_the_end_is_known(play):
    """After 1, 5, 15, 60 minutes, then hourly; the lane goes on meanwhile."""
    async with play() as it:
        under_way = kvittering_advarsel("G006")
        it.gateway.says(M2, under_way)
        await it.tell(it.m1(sag()))
        await it.until(lambda: said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"])
        await it.quiet()
        assert (await it.act("health"))["lanes"]["under_way"] == 1
        it.gateway.says(M2, *[under_way] * 4, kvittering_fejl("T201"))
        for number, minutes in enumerate((1, 5, 15, 60, 60), start=1):
            await it.pass_time(seconds=minutes * 60 - 1)
            assert len(it.gateway.m2) == 1 + number
            await it.pass_time(seconds=1)
            await it.until(lambda expected=2 + number: len(it.gateway.m2) == expected)
            await it.quiet()
        first = it.gateway.m2[0]
        assert all(codec.encode(again) == codec.encode(first) for again in it.gateway.m2[2:])
        await it.quiet()
        (task,) = (await it.act("tasks"))["tasks"]
        assert (task["code"], task["besked_id"]) == ("T201", str(first.Hoved.BeskedID))
        assert (await it.act("due"))["next"] is None


async def test_g006_that_ends_well(play):
    """The final receipt of a repeat is written where the first one stood."""
    async with play() as it:
        it.gateway.says(M2, kvittering_advarsel("G006"))
        await it.tell(it.m1(sag()))
        await it.until(lambda: len(it.gateway.m2) == 2)
        await it.quiet()
        assert "under_way" in {row["receipt"] for row in (await it.act("messages"))["sent"]}
        await it.pass_time(minutes=1)
        await it.until(lambda: len(it.gateway.m2) == 3)
        await it.quiet()
        assert {row["receipt"] for row in (await it.act("messages"))["sent"]} == {"ok"}


async def test_silence_holds_the_lane_and_sends_the_same_bytes_again(play):
    """A Server fault is no answer: what comes after waits, and order holds."""
    async with play(lanes=Lanes(jitter=lambda: 1.0)) as it:
        it.gateway.answers[M2] += [RuntimeError("down"), RuntimeError("down")]
        await it.tell(it.m1(sag()))
        await it.until(lambda: len(it.gateway.m2) == 1)
        await it.quiet()
        assert said(it.gateway.m2) == ["MODTAGET"]
        await it.pass_time(seconds=1)
        await it.until(lambda: len(it.gateway.m2) == 2)
        await it.quiet()
        await it.pass_time(seconds=3)
        await it.until(lambda: len(it.gateway.m2) == 4)
        assert said(it.gateway.m2) == ["MODTAGET", "MODTAGET", "MODTAGET", "ACCEPTERET"]
        assert len({message.Hoved.BeskedID for message in it.gateway.m2[:3]}) == 1


async def test_five_days_of_silence_are_a_task(play):
    """The lane stands until a person has looked; another case's does not."""
    async with play(lanes=Lanes(jitter=lambda: 1.0)) as it:
        it.gateway.answers[M2] += [RuntimeError("down")] * 2
        await it.tell(it.m1(case := sag()))
        await it.until(lambda: len(it.gateway.m2) == 1)
        await it.quiet()
        await it.pass_time(days=5)
        await it.until(lambda: len(it.gateway.m2) == 2)
        await it.quiet()
        (task,) = (await it.act("tasks"))["tasks"]
        assert (task["code"], task["sags_id"]) == ("PARKED", str(case.SagsID))
        assert (await it.act("health"))["lanes"]["parked"] == 1
        await it.tell(it.m1(sag(CprNummer=OTHER_CPR)))
        await it.until(lambda: len(it.gateway.m2) == 4)


async def test_a_client_fault_is_a_task_and_the_lane_goes_on(play):
    """The same bytes will never do."""
    async with play() as it:
        it.gateway.answers[M2].append(MalformedRequest("x"))
        await it.tell(it.m1(sag()))
        await it.until(lambda: said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"])
        await it.quiet()
        (task,) = (await it.act("tasks"))["tasks"]
        assert task["code"] not in {"", "PARKED"}
        assert task["text"].startswith("Beskeden blev afvist")


async def test_what_was_too_old_is_made_once_more(play):
    """G010: nothing was stored, so the same payload goes with a new BeskedID and time; a second G010 is a task."""
    async with play() as it:
        it.gateway.says(M2, kvittering_fejl("G010"), kvittering_ok(), kvittering_fejl("G010"))
        await it.tell(it.m1(sag()))
        await it.until(lambda: len(it.gateway.m2) == 3)
        await it.quiet()
        old, _, new = it.gateway.m2
        assert new.Hoved.BeskedID != old.Hoved.BeskedID
        assert new.Hoved.ReferenceBeskedID == old.Hoved.ReferenceBeskedID
        assert said([old, new]) == ["MODTAGET", "MODTAGET"]
        (task,) = (await it.act("tasks"))["tasks"]
        assert (task["code"], task["besked_id"]) == ("G010", str(new.Hoved.BeskedID))


async def test_a_message_is_written_down_before_it_leaves(play):
    """Its BeskedID is known while the gateway still thinks about it."""
    async with play() as it:
        seen = []
        take = it.gateway.take

        async def look(call):
            rows = (await it.act("messages"))["sent"]
            seen.append(str(call.besked_id) in {row["besked_id"] for row in rows})
            return await take(call)

        it.hub._handlers[M2] = look
        await it.tell(it.m1(sag()))
        await it.until(lambda: len(seen) == 2)
        assert seen == [True, True]


async def test_a_gateway_that_comes_back_gets_everything_in_order(play):
    """Stopped in the middle of a post: after the restart the same message goes again, then the rest."""
    async with play() as it:
        stuck = asyncio.Event()
        take = it.gateway.take

        async def hang(call):
            await stuck.wait()
            return await take(call)

        it.hub._handlers[M2] = hang
        await it.tell(it.m1(case := sag()))
        await it.tell(it.m1(ended(case), "AFSLUTTET"))
        await it.until(lambda: in_flight(it))
        it.jobcenter._grace = 0.05
        await it.jobcenter.stop()
        it.hub._handlers[M2] = take
        it.jobcenter = it.build()
        await it.jobcenter.start()
        async with it.store.tx() as tx:
            await tx.run("UPDATE lane SET lease_until = '2000-01-01T00:00:00Z'")  # as if its minute had passed
        await it.until(lambda: len(it.gateway.m2) >= 4)
        stuck.set()
        answers = [(m.SagsVersion, m.Forretningskvittering.ForretningsValideringsKode) for m in it.gateway.m2[:4]]
        assert answers == [(1, "MODTAGET"), (1, "ACCEPTERET"), (2, "MODTAGET"), (2, "ACCEPTERET")]


async def in_flight(it) -> bool:
    return (await it.act("due"))["in_flight"] > 0


async def test_stopping_twice_and_before_the_start_is_no_error(play):
    """A part that never began has nothing to end."""
    async with play() as it:
        fresh = it.build()
        await fresh.stop()
        await it.jobcenter.stop()
        await it.jobcenter.stop()


async def test_answer_late(play):
    """All is done, and the receipt waits."""
    async with play() as it:
        await it.act("chaos", answer_late=1.5)
        asking = asyncio.create_task(it.tell(it.m1(case := sag())))
        await it.until(lambda: len(it.gateway.m2) == 2)
        assert not asking.done()
        assert (await it.the_case(case))["state"] == "MODTAGET"
        assert (await asking).TransportKvittering == kvittering_ok()


async def test_close_after_apply(play):
    """The receipt is lost, the event is not: the repeat gets the receipt and applies nothing."""
    async with play() as it:
        assert (await it.act("chaos", close_after_apply=1))["close_after_apply"] == 1
        event = it.m1(sag())
        with pytest.raises(NoAnswer):
            await it.tell(event)
        assert (await it.tell(event)).TransportKvittering == kvittering_ok()
        await it.quiet()
        assert said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"]


async def test_refuse_connections(play):
    """Nothing is done while the door is shut."""
    async with play() as it:
        await it.act("chaos", refuse_connections=True)
        event = it.m1(sag())
        with pytest.raises(NoAnswer):
            await it.tell(event)
        assert (await it.act("messages"))["received"] == []
        await it.act("chaos", refuse_connections=False)
        assert (await it.tell(event)).TransportKvittering == kvittering_ok()


async def test_a_database_that_fails_for_a_while(play, caplog):
    """The loop over what is due says so, waits, and goes on."""
    async with play() as it:
        agenda = it.jobcenter._agenda
        due, failures = agenda.due, []

        async def broken():
            if not failures:
                failures.append(1)
                raise StoreUnavailable
            return await due()

        agenda.due = broken
        agenda.wake()
        await it.until(lambda: bool(failures))
        await it.act("policy", events="slow")
        await it.tell(it.m1(sag()))
        await it.pass_time(days=2)
        await it.until(lambda: said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"])
        assert "the round failed" in caplog.text


async def test_a_lane_is_the_case(play):
    """Without NemrefusionsID and SagsID an update's lane is a keyed hash: no number stands in the table."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.act(
            "update",
            sags_id=str(case.SagsID),
            with_sags_id=False,
            with_nemrefusions_id=False,
            Opdateringstype=["STANDBY"],
        )
        await it.until(lambda: len(it.gateway.m5) == 1)
        await it.quiet()
        (update,) = it.gateway.m5
        assert (update.SagsID, update.Hoved.NemrefusionsID) == (None, None)
        async with it.store.read() as tx:
            found = await Lanes().find(tx, JC_SYSTEM, update.Hoved.BeskedID)
            everything = str(await tx.all("SELECT * FROM lane")) + str(await tx.all("SELECT * FROM sent"))
        assert found.status is Status.DELIVERED
        assert len(found.case_key) == 64
        assert case.CprNummer.reveal() not in everything


async def test_nothing_personal_lies_in_the_clear(play):
    """Every text and byte of every table is looked through for the citizen's number."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.tell(it.m3(later(case)))
        await it.until(lambda: len(it.gateway.m4) == 2)
        number = case.CprNummer.reveal().encode()
        async with it.store.read() as tx:
            names = await tx.all(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
            )
            for row in names:
                for found in await tx.all(f"SELECT * FROM {row['table_name']}"):
                    for value in found.values():
                        text = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                        assert number not in text, row["table_name"]


async def test_a_message_that_the_schema_refuses_is_never_put_in_the_outbox(play):
    """The act is refused with the place and without the value; nothing has changed."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.until(lambda: len(it.gateway.m2) == 2)
        with pytest.raises(ActRefused) as caught:
            await it.act("update", sags_id=str(case.SagsID), Opdateringstype=["NONSENSE"])
        assert caught.value.code == "SchemaValidationFailed"
        assert "NONSENSE" not in caught.value.text
        assert (await it.act("health"))["sent"] == 2
        await it.pass_time(days=6)
        assert it.gateway.m5 == []


async def test_an_answer_that_cannot_be_made_holds_up_no_other(play, caplog):
    """It is put off by an hour, an event and a request alike, and what comes behind it is said."""
    async with play() as it:
        await it.act("policy", events="slow", extensions="slow")
        await it.tell(it.m1(case := sag()))
        await it.tell(it.m3(case))
        it.clock.advance(timedelta(minutes=1))
        await it.tell(it.m1(other := sag(CprNummer=OTHER_CPR)))
        await it.until(lambda: len(it.gateway.m2) == 2 and len(it.gateway.m4) == 1)
        outbox = it.jobcenter._answering._outbox
        whole = outbox._written
        outbox._written = lambda body: body.replace(b">ACCEPTERET<", b">NONSENSE<")
        await it.pass_time(days=2)
        await it.until(lambda: caplog.text.count("put off") == 2)
        outbox._written = whole
        assert len(it.gateway.m2) == 2
        await it.pass_time(minutes=61)
        await it.until(lambda: len(it.gateway.m2) == 4)
        assert {m.SagsID for m in it.gateway.m2[2:]} == {case.SagsID, other.SagsID}
        outbox._written = lambda body: body.replace(b">ACCEPTERET<", b">NONSENSE<")
        await it.pass_time(days=60)
        await it.until(lambda: caplog.text.count("put off") == 3)
        outbox._written = whole
        await it.pass_time(hours=1)
        await it.until(lambda: len(it.gateway.m4) == 2)


async def test_a_database_that_is_away_is_not_one_answers_fault(play):
    """Nothing is put off for it: the round begins again."""
    async with play() as it:
        await it.act("policy", events="slow")
        await it.tell(it.m1(sag()))
        answering, failures = it.jobcenter._answering, []
        say = answering.say_due

        async def broken(*args, **options):
            if not failures:
                failures.append(1)
                raise StoreUnavailable
            await say(*args, **options)

        answering.say_due = broken
        await it.pass_time(days=2)
        await it.until(lambda: said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"])
        assert it.clock.now() == START + timedelta(days=2)
