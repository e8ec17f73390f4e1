# SPDX-License-Identifier: MPL-2.0
"""The corridor over real sockets: each call's way through, and of everything wrong with it the lowest number told."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from lxml import etree

from corridor import (
    AARHUS,
    FAELLES,
    LOOKUPS,
    RANDERS,
    SENDS,
    SYSTEMS,
    VIBORG,
    Corridor,
    another,
    besked_id,
    fine,
    message,
    receipt,
)
from sygefravaer import agreements, soap
from sygefravaer.contract.messages import kvittering_advarsel, kvittering_fejl
from sygefravaer.contract.operations import OPERATIONS, Service
from sygefravaer.errors import HttpRefusal

CPR = "0101505012"  # of the samples


@pytest.fixture
async def corridor(make_store, vault, clock, pki):
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki) as made:
        yield made


def receiver_of(corridor, name):
    return corridor.receivers["ksd" if OPERATIONS[name].to_ksd else "viborg"]


def canonical(envelope):
    return soap.canonical(envelope[-1][0])


# --- journeys ---


@pytest.mark.parametrize("name", SENDS)
async def test_send_comes_back_with_the_receivers_receipt(corridor, name):
    """Journeys A and C: stored, delivered at once as it came, answered with the receiver's own receipt."""
    sent = message(name)

    told = await corridor.send(name, sent)

    assert (told.status, told.kode) == (200, "OK")
    (call,) = receiver_of(corridor, name).calls
    assert soap.canonical(call.element) == canonical(sent)
    assert receiver_of(corridor, name).peers == {corridor.issued["callback"].serial_key}
    row = await corridor.stored(sent)
    assert (row["status"], row["municipality_cvr"]) == ("delivered", VIBORG)
    events = [row["event"] for row in await corridor.rows("audit")]
    assert events == ["message.accepted", "message.delivered"]


@pytest.mark.parametrize("name", LOOKUPS)
async def test_look_up_passes_through_and_is_recorded_twice(corridor, name):
    """Journey B: recorded before it is asked, answered as KSD answered, the outcome named after the question."""
    seen = []

    async def look(call):
        seen.extend(row["event"] for row in await corridor.rows("audit"))
        return await fine(call)

    corridor.receivers["ksd"].answer = look
    sent = message(name)

    told = await corridor.send(name, sent)

    assert told.status == 200
    assert soap.canonical(told.content) == soap.canonical(etree.fromstring(soap.wrap(await fine_bytes(name)))[-1][0])
    assert seen == ["lookup.asked"]
    asked, answered = await corridor.rows("audit")
    assert (answered["event"], answered["names"]) == ("lookup.answered", asked["audit_id"])
    assert asked["cpr_key"] == corridor.vault.lookup_key(CPR)
    assert await corridor.rows("message") == []


async def fine_bytes(name):
    class Asked:
        operation = OPERATIONS[name]

    return await fine(Asked)


async def test_look_up_may_repeat_its_besked_id(corridor):
    """A look-up is asked and recorded anew each time."""
    sent = message("HentSag")

    assert [(await corridor.send("HentSag", sent)).status for _ in range(2)] == [200, 200]
    assert len(corridor.receivers["ksd"].calls) == 2


async def test_nothing_personal_lies_in_the_clear(corridor):
    """Neither number nor body nor user can be read in the database."""
    sent = message("SendForretningsSvar")
    await corridor.send("SendForretningsSvar", sent)
    await corridor.send("HentSag", message("HentSag"))
    await corridor.send("SendForretningsSvar", message("SendForretningsSvar", CprNummer="0101010101"))

    for table in ("message", "attempt", "lane", "audit"):
        for row in await corridor.rows(table):
            for value in row.values():
                text = bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value)
                assert CPR not in text
                assert "0101010101" not in text
                assert "Forretningskvittering" not in text


# --- the same message again ---


@pytest.mark.parametrize(
    "answered",
    [kvittering_advarsel("F306"), kvittering_fejl("F302")],
)
async def test_repeat_gets_the_final_receipt_byte_for_byte(corridor, answered):
    """The final receipt is the same bytes inline and on every repeat, and the receiver hears nothing of them."""

    async def answer(_):
        return receipt(answered)

    corridor.receivers["ksd"].answer = answer
    sent = message("SendForretningsSvarForlaengelse")

    told = [await corridor.send("SendForretningsSvarForlaengelse", sent) for _ in range(3)]

    assert {one.status for one in told} == {200}
    assert len({one.body for one in told}) == 1
    assert told[0].kode == answered.TransportValideringsKode
    assert len(corridor.receivers["ksd"].calls) == 1
    assert [row["event"] for row in await corridor.rows("audit")][2:] == ["message.repeated"] * 2


async def test_repeat_with_another_call_context_is_the_same_message(corridor):
    """CallContext is the caller's own note on the call, not part of the message."""
    sent = message("SendForretningsSvar")
    first = await corridor.send("SendForretningsSvar", sent)
    body = sent[-1][0]
    context = etree.Element("{http://serviceplatformen.dk/xml/schemas/CallContext/1/}CallContext")
    etree.SubElement(context, context.tag.replace("}CallContext", "}OnBehalfOfUser")).text = "bruger"
    context.tail = body[0].tail
    body.insert(0, context)
    context.tail = None

    second = await corridor.send("SendForretningsSvar", sent)

    assert (second.status, second.body) == (200, first.body)


async def test_same_id_with_another_body_is_refused(corridor):
    """G002, and the message that is there stays as it is."""
    sent = message("SendForretningsSvar")
    await corridor.send("SendForretningsSvar", sent)

    told = await corridor.send("SendForretningsSvar", another(sent, KorrelationsID=uuid4()))

    assert (told.status, told.faultcode, told.code) == (500, "Client", "G002")
    assert len(await corridor.rows("message")) == 1
    assert (await corridor.send("SendForretningsSvar", sent)).kode == "OK"


async def test_two_systems_may_use_the_same_id(corridor):
    """The key is the sender's system and its BeskedID."""
    one, other = uuid4(), message("SendForretningsSvar", caller="aarhus", cvr=AARHUS)
    first = message("SendForretningsSvar", BeskedID=one)
    told = await corridor.send("SendForretningsSvar", first)
    again = await corridor.send("SendForretningsSvar", another(other, BeskedID=one), caller="aarhus")

    assert (told.kode, again.kode) == ("OK", "OK")
    assert len(await corridor.rows("message")) == 2


async def test_copies_at_once_have_one_effect(corridor):
    """Ten copies of a message at the same moment: one row, one delivery; who came first hears OK, others OK or G006."""

    go = asyncio.Event()

    async def later(call):
        await go.wait()
        return await fine(call)

    corridor.receivers["ksd"].answer = later
    sent = message("SendOpdateringFravaer")
    copies = {asyncio.create_task(corridor.send("SendOpdateringFravaer", sent)) for _ in range(10)}
    while len(copies) - sum(copy.done() for copy in copies) > 1:
        await asyncio.wait([copy for copy in copies if not copy.done()], return_when=asyncio.FIRST_COMPLETED)
    go.set()
    told = await asyncio.gather(*copies)

    assert Counter((one.status, one.kode, one.code) for one in told) == {
        (200, "OK", None): 1,
        (200, "ADVARSEL", "G006"): 9,
    }
    assert len(corridor.receivers["ksd"].calls) == 1
    assert len(await corridor.rows("message")) == 1
    assert (await corridor.rows("lane"))[0]["open"] == 0


# --- the order of answers ---


def without_authority(envelope):
    body = envelope[-1][0]
    body.remove(body.find("{*}AuthorityContext"))
    return envelope


def with_authority(envelope, number):
    next(envelope.iter("{*}MunicipalityCVR")).text = number
    return envelope


def with_schema_error(envelope):
    etree.SubElement(envelope[-1][0], "Ukendt").text = CPR
    return envelope


def unreadable(envelope):
    return etree.tostring(envelope)[:-10]


def unknown_operation(envelope):
    envelope[-1][0].tag = "{urn:other}SendNoget"
    return envelope


NAME = "SendForretningsSvar"
STALE = "2026-02-27T08:59:59Z"


@pytest.mark.parametrize(
    ("made", "caller", "status", "code"),
    [
        # 3 before 4, 5, 7
        (lambda: unreadable(message(NAME)), "stranger", 500, "UserSystemNotFound"),
        (lambda: unknown_operation(message(NAME)), "stranger", 500, "UserSystemNotFound"),
        (lambda: without_authority(message(NAME)), "stranger", 500, "UserSystemNotFound"),
        (lambda: with_authority(message(NAME), "12345678"), "stranger", 500, "UserSystemNotFound"),
        (lambda: with_schema_error(message(NAME)), "stranger", 500, "UserSystemNotFound"),
        (lambda: message(NAME), "stranger", 500, "UserSystemNotFound"),
        # 4 before 5
        (lambda: b"no xml", "viborg", 400, "MalformedRequest"),
        (lambda: unreadable(without_authority(message(NAME))), "viborg", 500, "MalformedRequest"),
        (lambda: unknown_operation(without_authority(message(NAME))), "viborg", 500, "OperationNotFound"),
        # 5 before 6, 7
        (lambda: with_schema_error(without_authority(message(NAME))), "viborg", 500, "SecurityModelNotProvided"),
        (
            lambda: with_schema_error(with_authority(message(NAME), "12345678")),
            "viborg",
            500,
            "AuthorityContextInvalid",
        ),
        (lambda: with_authority(message(NAME), "1234567"), "viborg", 500, "AuthorityContextInvalid"),
        # 6 before 7, 8
        (lambda: with_schema_error(message(NAME, cvr=RANDERS)), "viborg", 500, "ServiceAgreementNotFound"),
        (lambda: message(NAME, cvr=AARHUS, CprNummer="1"), "viborg", 500, "ServiceAgreementNotFound"),
        (lambda: message(NAME), "aarhus", 500, "ServiceAgreementNotFound"),
        (lambda: message(NAME), "ksd", 500, "ServiceAgreementNotFound"),
        # 7 before 8
        (lambda: with_schema_error(message(NAME, ReferenceBeskedID=None)), "viborg", 500, "SchemaValidationFailed"),
        # 8: G001 before G004 before G007, also where the caller decides; before 10 and 11
        (
            lambda: message(NAME, ReferenceBeskedID=None, AfsenderSystemID=uuid4(), CprNummer="1"),
            "viborg",
            500,
            "G001",
        ),
        (lambda: message(NAME, AfsenderSystemID=uuid4(), CprNummer="1"), "viborg", 500, "G004"),
        (lambda: message(NAME, AfsenderMyndighedCVR=AARHUS, CprNummer="1"), "viborg", 500, "G004"),
        (lambda: message(NAME, CprNummer="1", Afsendelsestidspunkt=STALE), "viborg", 500, "G007"),
        # 10 before 11
        (lambda: message(NAME, Afsendelsestidspunkt=STALE, ModtagerSystemID=uuid4()), "viborg", 500, "G010"),
        (lambda: message(NAME, Afsendelsestidspunkt="2026-03-02T09:05:01Z"), "viborg", 500, "G010"),
        # 11
        (lambda: message(NAME, ModtagerSystemID=uuid4()), "viborg", 500, "G004"),
    ],
)
async def test_lowest_number_is_told_and_nothing_is_stored(corridor, made, caller, status, code):
    """Of several things wrong with a call the first in the order of checks is the answer; the refusal is recorded."""
    told = await corridor.send(NAME, made(), caller=caller)

    assert (told.status, told.faultcode, told.code) == (status, "Client", code)
    assert CPR not in told.body.decode()
    assert await corridor.rows("message") == []
    assert await corridor.rows("lane") == []
    assert corridor.receivers["ksd"].calls == []
    (row,) = await corridor.rows("audit")
    assert (row["event"], row["code"]) == ("call.refused", code)
    assert str(row["call_uuid"]) == told.headers["calluuid"]
    assert (await corridor.send(NAME, message(NAME))).kode == "OK"


@pytest.mark.parametrize("at", ["2026-02-27T09:00:00Z", "2026-03-02T09:05:00Z", "2026-03-02T10:05:00+01:00"])
async def test_message_at_the_edge_of_freshness_is_accepted(corridor, at):
    """Seventy-two hours old and five minutes ahead are the last that are fresh."""
    assert (await corridor.send(NAME, message(NAME, Afsendelsestidspunkt=at))).kode == "OK"


async def test_freshness_is_judged_once(corridor, clock):
    """A stored message is never too old for its receipt; a refused one is judged anew each time."""
    sent = message(NAME)
    early = message(NAME, Afsendelsestidspunkt="2026-03-02T09:30:00Z")
    await corridor.send(NAME, sent)
    refused = await corridor.send(NAME, early)
    clock.advance(timedelta(minutes=30))
    accepted = await corridor.send(NAME, early)
    clock.advance(timedelta(days=300))

    assert (refused.code, accepted.kode) == ("G010", "OK")
    assert (await corridor.send(NAME, sent)).kode == "OK"
    assert (await corridor.send(NAME, another(sent, KorrelationsID=uuid4()))).code == "G002"


async def test_ended_agreement_still_answers_repeats(corridor):
    """After an agreement has ended a repeat gets its receipt, and anything else the refusal of step 6."""
    sent = message(NAME)
    await corridor.send(NAME, sent)
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE agreement SET valid_to = '2026-03-01'")

    codes = [
        (await corridor.send(NAME, each)).code
        for each in (
            message(NAME),
            another(sent, KorrelationsID=uuid4()),
            another(sent, AfsenderSystemID=uuid4()),
            another(sent, CprNummer="1"),
            with_schema_error(another(sent)),
        )
    ]
    looked_up = await corridor.send("HentSag", message("HentSag"))

    assert (await corridor.send(NAME, sent)).kode == "OK"
    assert codes == ["ServiceAgreementExpired"] * 5
    assert looked_up.code == "ServiceAgreementExpired"
    assert len(await corridor.rows("message")) == 1


async def test_no_route_is_told_by_the_kind_of_call(corridor):
    """A send without a route is G005, a look-up RoutingNotFound."""
    async with corridor.store.tx() as tx:
        await tx.run("DELETE FROM route")

    sent = await corridor.send(NAME, message(NAME))
    looked_up = await corridor.send("HentSag", message("HentSag"))

    assert (sent.code, looked_up.code) == ("G005", "RoutingNotFound")
    assert looked_up.content.find(".//{*}ServiceplatformFault") is not None
    assert sent.content.find("detail")[0].tag.endswith("}TransportKvittering")


async def test_rules_on_a_look_up_are_platform_faults(corridor):
    """A look-up has no receipt: the same rule is a ServiceplatformFault with its code."""
    wanted = {
        "G001": message("HentSag", SnitfladeID="SF2090"),
        "G004": message("HentSag", AfsenderSystemID=uuid4()),
        "G007": message("HentSag", CprNummer="1"),
        "G010": message("HentSag", Afsendelsestidspunkt=STALE),
    }

    for code, envelope in wanted.items():
        told = await corridor.send("HentSag", envelope)
        assert (told.status, told.code) == (500, code)
        assert told.content.find(".//{*}ServiceplatformFault") is not None
    assert corridor.receivers["ksd"].calls == []


async def test_substitute_number_goes_only_where_it_is_taken(corridor):
    """What goes to a municipality may carry a substitute number if its route says so; KSD decides for itself."""
    name, number = "SendAnmodningForlaengelse", "6101505012"

    def substituted():
        envelope = message(name, CprNummer=number)
        next(envelope.iter("{*}Sygefravaerssag")).find(f"{FAELLES}CprNummer").text = number
        return envelope

    refused = await corridor.send(name, substituted())
    async with corridor.store.tx() as tx:
        await tx.run("UPDATE route SET takes_substitute = true WHERE municipality_cvr = %(cvr)s", cvr=VIBORG)
    accepted = await corridor.send(name, substituted())
    to_ksd = await corridor.send("SendOpdateringFravaer", message("SendOpdateringFravaer", CprNummer=number))

    assert (refused.code, accepted.kode, to_ksd.kode) == ("G007", "OK", "OK")


@pytest.mark.parametrize("name", ["SendHaendelseSygefravaerssag", "SendAnmodningForlaengelse"])
async def test_substitute_number_of_the_case_goes_only_where_it_is_taken(corridor, name):
    """The number that the case has is judged like the header's; numbers that it had are history, and may be any."""
    substitute, usual = "6101505012", "0101505006"

    def about(current, former):
        envelope = message(name, CprNummer=usual)
        case = next(envelope.iter("{*}Sygefravaerssag"))
        case.find(f"{FAELLES}CprNummer").text = current
        for old in case.findall(f"{FAELLES}TidligereCprNummer"):
            case.remove(old)
        case.find(f"{FAELLES}CprNummer").addnext(held := etree.Element(f"{FAELLES}TidligereCprNummer"))
        held.text = former
        return envelope

    refused = await corridor.send(name, about(substitute, usual))
    history = await corridor.send(name, about(usual, substitute))

    assert (refused.code, history.kode) == ("G007", "OK")
    (row,) = await corridor.rows("audit", "event = 'call.refused'")
    assert row["reason"] == "Sygefravaerssag/CprNummer"


async def test_answer_for_another_municipality_than_was_asked(corridor):
    """T203 when the caller's own system got the message for another municipality; else KSD judges the reference."""
    async with corridor.store.tx() as tx:
        await corridor.agree(tx, "viborg", Service.SYGEFRAVAER, AARHUS)
    event = message("SendHaendelseSygefravaerssag")
    await corridor.send("SendHaendelseSygefravaerssag", event)
    reference = besked_id(event)

    right = await corridor.send(NAME, message(NAME, ReferenceBeskedID=reference))
    wrong = await corridor.send(NAME, message(NAME, cvr=AARHUS, ReferenceBeskedID=reference))
    of_another_system = await corridor.send(
        NAME, message(NAME, caller="aarhus", ReferenceBeskedID=reference), caller="aarhus"
    )
    unknown = await corridor.send(NAME, message(NAME, cvr=AARHUS, ReferenceBeskedID=uuid4()))

    assert [one.code for one in (right, wrong, of_another_system, unknown)] == [None, "T203", None, None]


async def test_refusal_is_recorded_with_the_rule_that_decided(corridor):
    """The record holds the step of the decision and what nearly matched; the caller gets the code alone."""
    told = await corridor.send(NAME, message(NAME, cvr=AARHUS))

    (row,) = await corridor.rows("audit")
    assert f"Sygefravaer for {VIBORG}" in row["reason"]
    assert row["system"] == SYSTEMS["viborg"]
    assert VIBORG not in told.body.decode()


# --- look-ups that KSD does not answer ---


async def html(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<html></html>"})


async def failing(_):
    raise ZeroDivisionError


@pytest.mark.parametrize("trouble", ["down", "html", "fault", "slow"])
async def test_look_up_that_ksd_does_not_answer(make_store, vault, clock, pki, trouble):
    """A Server fault with our CallUUID, and an outcome under the row of the question."""
    store = await make_store("agreements", "audit", "lanes", "delivery", size=8)
    async with Corridor(store, vault, clock, pki, timeout=0.3 if trouble == "slow" else 20.0) as corridor:
        ksd, never = corridor.receivers["ksd"], asyncio.Event()

        async def waits(_):
            await never.wait()

        match trouble:
            case "down":
                await ksd.server.stop()
            case "html":
                ksd.raw = html
            case "fault":
                ksd.answer = failing
            case "slow":
                ksd.answer = waits

        told = await corridor.send("HentSag", message("HentSag"))
        never.set()

        code = "SourceSystemTimeout" if trouble == "slow" else "SourceSystemUnavailable"
        assert (told.status, told.faultcode, told.code) == (500, "Server", code)
        assert told.headers["calluuid"] in told.body.decode()
        asked, answered = await corridor.rows("audit")
        assert (answered["event"], answered["names"], answered["code"]) == ("lookup.answered", asked["audit_id"], code)


# --- the machine room ---


async def test_database_that_is_away_is_a_server_fault(corridor):
    """Nothing can be stored: the caller is told to come back, and nothing is pretended."""
    await corridor.store.close()

    told = await corridor.send(NAME, message(NAME))

    assert (told.status, told.faultcode, told.code) == (500, "Server", "InternalError")


async def test_refusal_that_cannot_be_recorded_is_not_given(corridor):
    """A refusal that nobody could look up becomes a Server fault."""
    async with corridor.store.tx() as tx:
        await tx.run("ALTER TABLE audit RENAME TO elsewhere")

    told = await corridor.send(NAME, message(NAME), caller="stranger")

    assert (told.status, told.faultcode, told.code) == (500, "Server", "InternalError")


async def test_large_message_is_judged_beside_the_loop(corridor):
    """A body above 64 KiB takes the same way."""
    sent = message(NAME)
    sent[-1].append(etree.Comment("x" * 100_000))

    assert (await corridor.send(NAME, sent)).kode == "OK"


async def test_what_is_tolerated_is_logged(corridor, caplog):
    """The body's name decides: a SOAPAction that says something else, and a header nobody knows, leave a line."""
    caplog.set_level("INFO")
    sent = message(NAME)
    header = etree.Element(sent[0].tag.replace("}Body", "}Header"))
    etree.SubElement(header, "{urn:other}Spor").text = CPR
    sent.insert(0, header)

    told = await corridor.send(NAME, sent, headers={"SOAPAction": '"urn:other/HentSag"'})
    again = await corridor.send(NAME, sent, headers={"SOAPAction": '""'})

    assert (told.kode, again.body) == ("OK", told.body)
    assert [record.message for record in caplog.records if record.name == "sygefravaer.gateway"] == [
        "soap.tolerated",
        "soap.action_contradicts",
        "soap.tolerated",
    ]
    assert CPR not in caplog.text


async def test_call_without_an_identity_is_not_let_in(corridor):
    """A door that lets calls in without a certificate is not enough to pass the corridor."""
    corridor.peers.required = False

    class Nobody:
        identity = None

    with pytest.raises(HttpRefusal):
        await corridor.gateway.handle(Nobody)


async def test_refusal_told_inline_is_heard(corridor):
    """A FEJL that was given in the answer is no debt; the record of it is closed."""

    async def no(_):
        return receipt(kvittering_fejl("T201"))

    corridor.receivers["ksd"].answer = no
    await corridor.send(NAME, message(NAME))
    await corridor.heard()

    (row,) = await corridor.rows("unheard")
    assert (row["told_at"], row["told_by"]) == (datetime(2026, 3, 2, 9, tzinfo=UTC), "answer")


async def test_route_of_the_day_is_used(corridor):
    """From the first day of a new route what goes to a municipality goes there."""
    async with corridor.store.tx() as tx:
        await corridor.route(tx, Service.SYGEFRAVAER_JC, VIBORG, "aarhus", valid_from=date(2026, 3, 3))
    name = "SendHaendelseSygefravaerssag"
    await corridor.send(name, message(name))
    corridor.clock.advance(timedelta(days=1))
    await corridor.send(name, message(name, Afsendelsestidspunkt="2026-03-03T09:00:00Z"))

    assert [len(corridor.receivers[each].calls) for each in ("viborg", "aarhus")] == [1, 1]
    assert agreements.danish_day(corridor.clock.now()) == date(2026, 3, 3)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE system SET active = false", "UserSystemInactive"),
        ("UPDATE certificate SET active = false", "UserSystemInactive"),
        ("UPDATE agreement SET status = 'suspended'", "ServiceAgreementSuspended"),
        ("DELETE FROM agreement", "ServiceAgreementNotFound"),
        ("DELETE FROM route", "G005"),
    ],
)
async def test_change_of_the_registers_counts_from_the_next_call_on(corridor, change, code):
    """However many calls like it were let in before; what was accepted under the rules before stays accepted."""
    before = [await corridor.send(NAME, message(NAME)) for _ in range(2)]
    async with corridor.store.tx() as tx:
        await tx.run(change)

    assert [told.kode for told in before] == ["OK", "OK"]
    assert (await corridor.send(NAME, message(NAME))).code == code
    assert len(await corridor.rows("message")) == 2


async def test_new_right_and_new_route_count_from_the_next_call_on(corridor):
    """What is let in as the last one was goes where the route of now leads."""
    name = "SendHaendelseSygefravaerssag"
    await corridor.send(name, message(name))
    async with corridor.store.tx() as tx:
        await corridor.route(tx, Service.SYGEFRAVAER_JC, VIBORG, "aarhus", valid_from=date(2026, 3, 2))
    await corridor.send(name, message(name))

    assert [len(corridor.receivers[each].calls) for each in ("viborg", "aarhus")] == [1, 1]


async def test_message_like_the_last_one_is_accepted_in_one_statement(corridor):
    """The registers are read for the first; the next ones rely on what was found, in the statement that accepts."""
    asked = []
    ask = corridor.store._pool.connection_class.ask

    async def noted(self, statement, params, **options):
        asked.append(statement)
        return await ask(self, statement, params, **options)

    for _ in range(2):
        asked.clear()
        corridor.store._pool.connection_class.ask = noted
        try:
            assert (await corridor.send(NAME, message(NAME))).kode == "OK"
        finally:
            corridor.store._pool.connection_class.ask = ask
    own = [
        statement
        for statement in asked
        if "INTO message" in statement or "FROM certificate" in statement or "LEFT JOIN certificate" in statement
    ]

    assert len(own) == 1
    assert "register_edition" in own[0]
