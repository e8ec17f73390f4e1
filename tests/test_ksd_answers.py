# SPDX-License-Identifier: MPL-2.0
"""What KSD does with what jobcentres send: answers (M2, M4) and updates (M5), over real mutual TLS."""

import asyncio
import secrets
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from ksd_rig import AARHUS, CPR, ODENSE, OTHER_CPR, SUBSTITUTE, THIRD_CPR, VIBORG, said, scene
from sygefravaer.contract.messages import (
    DelvisPeriodeType,
    ManglendeMedvirkenType,
    OpfoelgningType,
    OvergangType,
    RaskmeldingType,
)
from sygefravaer.contract.values import Cpr

OK = ("OK", [])
TODAY, YESTERDAY = date(2026, 3, 2), date(2026, 3, 1)


@pytest.fixture
async def ksd(make_store, vault, clock, pki):
    async with scene(make_store=make_store, vault=vault, clock=clock, pki=pki) as found:
        yield found


async def sent(ksd):
    """List what was sent as (answer, final, whether settled), oldest first."""
    rows = (await ksd.act("messages"))["messages"]
    return [(each["answer"], each["final"], each["settled_at"] is not None) for each in reversed(rows)]


# --- M2 ---


async def test_an_answer_settles_its_event(ksd):
    """MODTAGET, then AFLEVERET, then ACCEPTERET: the last is final, and names the jobcentersag."""
    case = await ksd.opened()
    (event,) = ksd.gateway.m1
    assert await ksd.send(ksd.m2(event, "MODTAGET")) == OK
    assert await sent(ksd) == [("MODTAGET", None, False)]
    assert await ksd.send(ksd.m2(event, "AFLEVERET")) == OK
    assert await ksd.send(ksd.m2(event, "ACCEPTERET")) == OK
    assert await sent(ksd) == [("ACCEPTERET", "ACCEPTERET", True)]
    assert await ksd.send(ksd.m2(event, "MODTAGET")) == OK
    assert await sent(ksd) == [("ACCEPTERET", "ACCEPTERET", True)]
    assert await ksd.send(ksd.m2(event, "ACCEPTERET")) == OK
    assert await ksd.send(ksd.m2(event, "AFVIST", codes=["B102"])) == ("FEJL", ["T202"])
    shown = await ksd.case(case.SagsID)
    assert [each["jobcentersag_id"] for each in shown["jobcentersager"]] == [str(UUID(int=0x1C))]
    (message,) = (await ksd.act("messages"))["messages"]
    assert [each["code"] for each in message["answers"]] == [
        *("MODTAGET", "AFLEVERET", "ACCEPTERET", "MODTAGET", "ACCEPTERET"),
    ]


async def test_an_outdated_version_is_settled_by_saying_so(ksd):
    """MODTAGET with FORAELDET_VERSION settles an event; so does a final answer to a higher version."""
    case = await ksd.opened()
    for code in ("01", "02"):
        await ksd.act("change_case", sags_id=str(case.SagsID), AkasseKode=code)
    await ksd.quiet()
    first, _, third = ksd.gateway.m1
    await ksd.send(ksd.m2(first, "MODTAGET", reason="FORAELDET_VERSION"))
    assert [each[2] for each in await sent(ksd)] == [True, False, False]
    await ksd.send(ksd.m2(third))
    assert await sent(ksd) == [("MODTAGET", None, True), (None, None, True), ("ACCEPTERET", "ACCEPTERET", True)]


async def test_what_was_answered_finally_stays_so(ksd):
    """After a final answer nothing that comes later wins: no other jobcentersag, and no other reason to refuse."""
    case = await ksd.opened()
    (event,) = ksd.gateway.m1
    assert await ksd.send(ksd.m2(event)) == OK
    for code in ("ACCEPTERET", "MODTAGET"):
        assert await ksd.send(ksd.m2(event, code, JobcentersagID=UUID(int=0x2C))) == OK
    shown = await ksd.case(case.SagsID)
    assert [each["jobcentersag_id"] for each in shown["jobcentersager"]] == [str(UUID(int=0x1C))]
    await ksd.act("change_case", sags_id=str(case.SagsID), AkasseKode="01")
    await ksd.quiet()
    event = ksd.gateway.m1[-1]
    assert await ksd.send(ksd.m2(event, "AFVIST", codes=["B101", "B103"])) == OK
    assert await ksd.send(ksd.m2(event, "AFVIST", codes=["B103", "B101"])) == OK
    assert await ksd.send(ksd.m2(event, "AFVIST", codes=["B102"])) == ("FEJL", ["T202"])


async def test_a_refused_event_is_a_task_with_its_codes(ksd):
    """AFVIST needs a person, once however often it is said; its codes and its reason are kept."""
    await ksd.opened()
    (event,) = ksd.gateway.m1
    for _ in range(2):
        assert await ksd.send(ksd.m2(event, "AFVIST", reason="Flyttet i går", codes=["B101", "B102"])) == OK
    assert await ksd.tasks() == [("event_refused", ["B101", "B102"], "LOOK")]
    (message,) = (await ksd.act("messages"))["messages"]
    assert message["answers"][0]["codes"] == ["B101", "B102"]
    assert message["answers"][0]["reason"] == "Flyttet i går"


async def test_a_failed_event_is_a_task_until_it_is_accepted(ksd):
    """FEJLET is not final: the acceptance that follows closes the task."""
    await ksd.opened()
    (event,) = ksd.gateway.m1
    assert await ksd.send(ksd.m2(event, "FEJLET")) == OK
    assert await ksd.tasks() == [("event_failed", [], "LOOK")]
    assert await ksd.send(ksd.m2(event)) == OK
    assert await ksd.tasks() == []


async def test_answers_to_nothing_and_to_others_are_refused(ksd):
    """T201 for an unknown reference, a request's and another municipality's; T204 for another person; T205 version."""
    asked = await ksd.asked()
    (event,) = ksd.gateway.m1
    other = await ksd.opened(cpr=OTHER_CPR)
    assert await ksd.send(ksd.m2(event, reference=uuid4())) == ("FEJL", ["T201"])
    assert await ksd.send(ksd.m2(event, reference=asked.Hoved.BeskedID)) == ("FEJL", ["T201"])
    assert await ksd.send(ksd.m2(event, cvr=ODENSE)) == ("FEJL", ["T201"])
    assert await ksd.send(ksd.m2(event, cpr=OTHER_CPR)) == ("FEJL", ["T204"])
    assert await ksd.send(ksd.m2(event, nemref=other.NemrefusionsID)) == ("FEJL", ["T204"])
    assert await ksd.send(ksd.m2(event, SagsVersion=7)) == ("FEJL", ["T205"])
    assert await ksd.send(ksd.m2(event, SagsID=other.SagsID)) == ("FEJL", ["T205"])
    assert (await ksd.act("messages"))["messages"][-1]["answers"] == []


async def test_a_copy_gets_the_receipt_of_the_first(ksd):
    """The same BeskedID again: the same receipt, one effect; with other content G002."""
    await ksd.opened()
    (event,) = ksd.gateway.m1
    message = ksd.m2(event, "FEJLET")
    assert [await ksd.send(message) for _ in range(3)] == [OK] * 3
    assert await ksd.send(replace(message, SagsVersion=2)) == ("FEJL", ["G002"])
    (shown,) = (await ksd.act("messages"))["messages"]
    assert len(shown["answers"]) == 1


async def test_the_contracts_rules_hold_here_too(ksd):
    """A receiver judges what the gateway judges: an acceptance without JobcentersagID is G001."""
    await ksd.opened()
    (event,) = ksd.gateway.m1
    assert await ksd.send(ksd.m2(event, JobcentersagID=None)) == ("FEJL", ["G001"])


# --- M4 ---


async def test_an_extension_is_granted_and_told(ksd):
    """ACCEPTERET: the extension stands in a new version, told as FORLAENGELSE_BEVILGET; the request is decided."""
    asked = await ksd.asked()
    sags_id = asked.Sygefravaerssag.SagsID
    assert await ksd.send(ksd.m4(asked, "MODTAGET")) == OK
    assert (await ksd.case(sags_id))["requests"][0]["assessing"] is True
    assert await ksd.send(ksd.m4(asked)) == OK
    await ksd.quiet()

    event = ksd.gateway.m1[-1]
    assert said(event) == ("AENDRET", 3, "FORLAENGET", ("FORLAENGELSE_BEVILGET",))
    (extension,) = event.Sygefravaerssag.Forlaengelse
    assert (extension.Forlaengelseskode, extension.FraDato, extension.TilDato, extension.AfgoerelsesDato) == (
        *("P27_1_3", date(2026, 5, 1), date(2026, 10, 31), TODAY),
    )
    assert event.HaendelsesDato == date(2026, 5, 1)
    shown = await ksd.case(sags_id)
    assert shown["requests"][0]["status"] == "decided"
    assert shown["versions"][-1]["cause"] == "SendForretningsSvarForlaengelse"
    assert shown["versions"][-1]["rule"] == "§ 27, stk. 1, nr. 3"
    assert await ksd.send(ksd.m4(asked, SagsVersion=3)) == ("FEJL", ["F308"])


async def test_a_renewal_asks_from_where_the_extension_ends(ksd):
    """FORNYET_FORLAENGELSE for the day the last one ends; the maximum of a code counts what was granted before."""
    asked = await ksd.asked()
    await ksd.send(ksd.m4(asked, kode="P27_1_2"))
    await ksd.act("ask_extension", sags_id=str(asked.Sygefravaerssag.SagsID))
    await ksd.quiet()

    again = ksd.gateway.m3[-1]
    assert (again.Anmodningstype, again.RevurderingsDato) == ("FORNYET_FORLAENGELSE", date(2026, 10, 31))
    longest = date(2026, 5, 1) + timedelta(weeks=69, days=-1)
    assert await ksd.send(ksd.m4(again, kode="P27_1_2", til=longest + timedelta(days=1))) == ("FEJL", ["F304"])
    assert await ksd.send(ksd.m4(again, kode="P27_1_2", til=longest)) == OK


async def test_a_refusal_leaves_the_decision_to_ksd(ksd):
    """AFVIST: answered, a task with the follow-on of its cause, and payment goes on."""
    asked = await ksd.asked()
    assert await ksd.send(ksd.m4(asked, "AFVIST", Afvisningsaarsag="GRUNDLAG_MANGLER")) == OK
    await ksd.quiet()

    assert await ksd.tasks() == [("extension_refused", ["GRUNDLAG_MANGLER"], "NY_ANMODNING")]
    shown = await ksd.case(asked.Sygefravaerssag.SagsID)
    assert (shown["state"], shown["version"]) == ("REVURDERING", 2)
    assert (shown["requests"][0]["status"], shown["requests"][0]["refusal"]) == ("answered", "GRUNDLAG_MANGLER")
    assert await ksd.send(ksd.m4(asked)) == ("FEJL", ["F308"])
    await ksd.act("ask_extension", sags_id=str(asked.Sygefravaerssag.SagsID))
    await ksd.quiet()
    assert ksd.gateway.m3[-1].Sygefravaerssag.SagsVersion == 2


async def test_a_jobcentre_that_does_not_know_the_case_is_told_it_as_new(ksd):
    """SAG_UKENDT_I_JOBCENTER: OPRETTET goes again, unless the policy says that a person does it."""
    asked = await ksd.asked()
    assert await ksd.send(ksd.m4(asked, "AFVIST", Afvisningsaarsag="SAG_UKENDT_I_JOBCENTER")) == OK
    await ksd.quiet()
    assert said(ksd.gateway.m1[-1])[:3] == ("OPRETTET", 2, "REVURDERING")
    assert await ksd.tasks() == [("extension_refused", ["SAG_UKENDT_I_JOBCENTER"], "OPRETTET_SENDES_IGEN")]

    await ksd.act("policy", follow_on=False)
    other = await ksd.asked(cpr=OTHER_CPR)
    told = len(ksd.gateway.m1)
    message = ksd.m4(other, "AFVIST", cpr=OTHER_CPR, Afvisningsaarsag="SAG_UKENDT_I_JOBCENTER")
    assert await ksd.send(message) == OK
    await ksd.quiet()
    assert len(ksd.gateway.m1) == told


async def test_a_failed_assessment_is_a_task(ksd):
    """FEJLET changes nothing; the question stands."""
    asked = await ksd.asked()
    assert await ksd.send(ksd.m4(asked, "FEJLET")) == OK
    assert await ksd.tasks() == [("extension_failed", [], "ASK")]
    assert await ksd.send(ksd.m4(asked)) == OK


async def test_an_answer_after_the_deadline_is_taken_with_a_remark(ksd):
    """F306 is no rejection: silence has stopped nothing, and the extension is backdated."""
    asked = await ksd.asked()
    await ksd.pass_time(days=60)
    assert await ksd.send(ksd.m4(asked)) == ("ADVARSEL", ["F306"])
    await ksd.quiet()
    assert said(ksd.gateway.m1[-1])[2] == "FORLAENGET"
    assert [said(each)[0] for each in ksd.gateway.m1] == ["OPRETTET", "AENDRET"]


async def test_any_reminder_may_be_referred_to(ksd):
    """ReferenceBeskedID is any BeskedID of the AnmodningID; of another one it is unknown."""
    asked = await ksd.asked()
    other = await ksd.asked()
    await ksd.act("remind", anmodning_id=str(asked.AnmodningID))
    await ksd.quiet()
    reminder = ksd.gateway.m3[-1]
    assert await ksd.send(ksd.m4(asked, reference=other.Hoved.BeskedID)) == ("FEJL", ["F301"])
    assert await ksd.send(ksd.m4(reminder)) == OK


async def test_answers_to_unknown_and_withdrawn_requests_are_refused(ksd):
    """F301: unknown, another municipality's, withdrawn by a move or a newer request. F309: another person."""
    asked = await ksd.asked()
    sags_id = str(asked.Sygefravaerssag.SagsID)
    other = await ksd.opened(cpr=OTHER_CPR)
    assert await ksd.send(ksd.m4(asked, AnmodningID=uuid4())) == ("FEJL", ["F301"])
    assert await ksd.send(ksd.m4(asked, cvr=ODENSE)) == ("FEJL", ["F301"])
    assert await ksd.send(ksd.m4(asked, cpr=OTHER_CPR)) == ("FEJL", ["F309"])
    assert await ksd.send(ksd.m4(asked, nemref=other.NemrefusionsID)) == ("FEJL", ["F309"])
    await ksd.act("ask_extension", sags_id=sags_id)
    await ksd.quiet()
    assert await ksd.send(ksd.m4(asked)) == ("FEJL", ["F301"])
    newer = ksd.gateway.m3[-1]
    await ksd.act("move_case", sags_id=sags_id, kommunekode="0751")
    assert await ksd.send(ksd.m4(newer)) == ("FEJL", ["F301"])
    await ksd.act("end_case", sags_id=sags_id)
    assert await ksd.send(ksd.m4(newer)) == ("FEJL", ["F301"])  # what became of it in Aarhus is not told


async def test_a_case_that_ended_meanwhile_is_not_extended(ksd):
    """F302; the request was withdrawn with the end."""
    asked = await ksd.asked()
    await ksd.act("end_case", sags_id=str(asked.Sygefravaerssag.SagsID))
    assert await ksd.send(ksd.m4(asked)) == ("FEJL", ["F302"])


async def test_an_assessment_of_an_old_version_counts_if_nothing_material_changed(ksd):
    """F307 is a remark after a harmless change, a refusal when first day, employer or CPR changed, or no version."""
    asked = await ksd.asked()
    sags_id = str(asked.Sygefravaerssag.SagsID)
    assert await ksd.send(ksd.m4(asked, "MODTAGET", SagsVersion=1)) == OK
    assert await ksd.send(ksd.m4(asked, "MODTAGET", SagsVersion=9)) == ("FEJL", ["F307"])
    await ksd.act("change_case", sags_id=sags_id, ForventetRaskmeldingsdato="2026-12-01")
    assert await ksd.send(ksd.m4(asked, "MODTAGET")) == ("ADVARSEL", ["F307"])
    await ksd.act("change_case", sags_id=sags_id, FoersteFravaersdag="2026-01-01")
    assert await ksd.send(ksd.m4(asked)) == ("FEJL", ["F307"])
    await ksd.act("ask_extension", sags_id=sags_id)
    await ksd.quiet()
    assert await ksd.send(ksd.m4(asked)) == ("FEJL", ["F307"])
    assert await ksd.send(ksd.m4(ksd.gateway.m3[-1])) == OK


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"kode": "P29"}, "F303"),
        ({"kode": "P24A6"}, "F303"),
        ({"VurderingsDato": date(2014, 6, 30)}, "F303"),
        ({"ForlaengelseFra": date(2026, 5, 2)}, "F305"),
        ({"til": date(2026, 4, 30)}, "F305"),
        ({"til": date(2026, 5, 1) + timedelta(weeks=134)}, "F304"),
    ],
)
async def test_an_extension_keeps_to_code_period_and_maximum(ksd, given, code):
    """F303 wrong code, F305 a gap or no period, F304 longer than the code allows: refused, and the question stands."""
    asked = await ksd.asked()
    assert await ksd.send(ksd.m4(asked, **given)) == ("FEJL", [code])
    assert await ksd.send(ksd.m4(asked, til=date(2026, 5, 1) + timedelta(weeks=134, days=-1))) == OK


async def test_two_answers_at_once_grant_once(ksd):
    """Whoever comes second sees the decision of the first."""
    asked = await ksd.asked()
    receipts = await asyncio.gather(*(ksd.send(ksd.m4(asked)) for _ in range(4)))
    assert sorted(receipts) == [("FEJL", ["F308"])] * 3 + [OK]
    assert (await ksd.case(asked.Sygefravaerssag.SagsID))["version"] == 3


# --- M5 ---


async def test_a_visitation_is_told_back(ksd):
    """Kategori in a new version, told as VISITATION_MODTAGET; OPLYST becomes LOEBENDE by it."""
    _, case = await ksd.seeded(state="OPLYST")
    (event,) = ksd.gateway.m1
    assert await ksd.send(ksd.visit(event.Sygefravaerssag, "1")) == OK
    await ksd.quiet()

    told = ksd.gateway.m1[-1]
    assert said(told) == ("AENDRET", 2, "LOEBENDE", ("VISITATION_MODTAGET",))
    assert told.Sygefravaerssag.Visitationskategori == "1"
    shown = await ksd.case(case["sags_id"])
    assert shown["versions"][-1]["cause"] == "SendOpdateringFravaer"
    assert shown["jobcentersager"][0]["status"] == "I_OPFOELGNING"
    assert shown["updates"][0]["version"] == 2


async def test_expected_and_partial_recovery_are_told_back(ksd):
    """One update with both is one version; a partial return moves a running case."""
    await ksd.seeded(state="LOEBENDE")
    case = ksd.gateway.m1[0].Sygefravaerssag
    period = DelvisPeriodeType(FraDato=date(2026, 3, 9), FravaerstimerPrUge=Decimal("20.00"))
    message = ksd.m5(
        case,
        "FORVENTET_RASKMELDING",
        "DELVIS_RASKMELDING",
        ForventetRaskmeldingsdato=date(2026, 5, 1),
        DelvisPeriode=(period,),
    )
    assert await ksd.send(message) == OK
    assert await ksd.send(replace(message, OpdateringID=uuid4(), Hoved=replace(message.Hoved, BeskedID=uuid4()))) == OK
    await ksd.quiet()

    first, second = ksd.gateway.m1[1:]
    assert said(first) == ("AENDRET", 2, "DELVIST_RASKMELDT", ("VISITATION_MODTAGET", "DELVIS_RASKMELDING"))
    assert second.Sygefravaerssag.DelvisPeriode == (period,)
    assert second.Sygefravaerssag.ForventetRaskmeldingsdato == date(2026, 5, 1)


async def test_a_recovery_ends_the_case(ksd):
    """RASKMELDING: AFSLUTTET on the last day of absence; with a visitation beside it that is told too."""
    case = await ksd.opened()
    recovery = RaskmeldingType(SidsteFravaersdag=date(2026, 2, 27), MeddeltAf="BORGER", MeddeltDato=TODAY)
    message = ksd.m5(
        case,
        "RASKMELDING",
        "VISITATION",
        Raskmelding=recovery,
        Visitationskategori="1",
        VisitationsDato=YESTERDAY,
        GyldigFra=date(2026, 2, 20),
    )
    assert await ksd.send(message) == OK
    await ksd.quiet()

    told = ksd.gateway.m1[-1]
    assert said(told) == ("AFSLUTTET", 2, "AFSLUTTET", ("VISITATION_MODTAGET",))
    picture = told.Sygefravaerssag
    assert (picture.SidsteFravaersdag, picture.Afslutningsaarsag) == (date(2026, 2, 27), "RASKMELDT")
    assert picture.Visitationskategori == "1"
    late = replace(message, OpdateringID=uuid4(), Hoved=replace(message.Hoved, BeskedID=uuid4()))
    assert await ksd.send(late) == OK
    assert await ksd.tasks() == [("recovery_after_end", ["BORGER"], "LOOK")]
    assert (await ksd.case(case.SagsID))["version"] == 2


async def test_a_transfer_beside_a_recovery_is_for_a_person(ksd):
    """RASKMELDING ends the case; the OVERGANG of the same update is a task that says to what and when."""
    case = await ksd.opened()
    message = ksd.m5(
        case,
        "RASKMELDING",
        "OVERGANG",
        Raskmelding=RaskmeldingType(SidsteFravaersdag=date(2026, 2, 27), MeddeltAf="BORGER", MeddeltDato=TODAY),
        Overgang=OvergangType(Type="FLEKSJOB", Dato=YESTERDAY),
        GyldigFra=date(2026, 2, 20),
    )
    assert await ksd.send(message) == OK
    await ksd.quiet()
    told = ksd.gateway.m1[-1]
    assert (told.HaendelsesDato, told.Sygefravaerssag.Afslutningsaarsag) == (date(2026, 2, 27), "RASKMELDT")
    assert await ksd.tasks() == [("transfer", ["FLEKSJOB", YESTERDAY.isoformat()], "LOOK")]


async def test_a_transfer_ends_the_case_unless_ksd_must_decide(ksd):
    """OVERGANG: ended by its type; a move or an annulment is KSD's own affair, and a task."""
    case = await ksd.opened()
    transfer = OvergangType(Type="FLEKSJOB", Dato=YESTERDAY)
    assert await ksd.send(ksd.m5(case, "OVERGANG", Overgang=replace(transfer, Type="FLYTNING"))) == OK
    assert await ksd.tasks() == [("transfer", ["FLYTNING", YESTERDAY.isoformat()], "LOOK")]
    assert await ksd.send(ksd.m5(case, "OVERGANG", Overgang=transfer)) == OK
    await ksd.quiet()
    told = ksd.gateway.m1[-1]
    assert said(told) == ("AFSLUTTET", 2, "AFSLUTTET", ())
    assert (told.HaendelsesDato, told.Sygefravaerssag.Afslutningsaarsag) == (YESTERDAY, "FLEKSJOB")
    assert await ksd.send(ksd.m5(case, "OVERGANG", Overgang=transfer)) == OK
    assert ("transfer", ["FLEKSJOB", YESTERDAY.isoformat()], "LOOK") in await ksd.tasks()


async def test_facts_beside_the_case_are_kept_and_not_told(ksd):
    """Follow-up, standby and the jobcentre's own closing change no version; missing cooperation is a task for KSD."""
    case = await ksd.opened()
    talk = OpfoelgningType(
        Opfoelgningstype="FOERSTE_OPFOELGNING",
        Form="FREMMOEDE",
        PlanlagtTid=datetime(2026, 3, 20, 9, tzinfo=UTC),
        AfholdtTid=datetime(2026, 2, 27, 9, tzinfo=UTC),
        Udfald="AFHOLDT",
    )
    missed = ManglendeMedvirkenType(HaendelsesDato=YESTERDAY, Type="UDEBLIVELSE", PartshoeringSendt=TODAY)
    messages = (
        ksd.m5(case, "OPFOELGNING", Opfoelgning=(talk,)),
        ksd.m5(case, "STANDBY", JobcentersagStatus="STANDBY"),
        ksd.m5(case, "MANGLENDE_MEDVIRKEN", ManglendeMedvirken=missed),
        ksd.m5(case, "SAG_LUKKET", JobcentersagStatus="AFSLUTTET"),
    )
    for message in messages:
        assert await ksd.send(message) == OK
    await ksd.quiet()

    assert len(ksd.gateway.m1) == 1
    assert await ksd.tasks() == [("missing_cooperation", ["UDEBLIVELSE"], "PARTSHOERING_P21")]
    shown = await ksd.case(case.SagsID)
    assert [each["kinds"] for each in shown["updates"]] == [list(each.Opdateringstype) for each in messages]
    assert shown["updates"][0]["content"]["Opfoelgning"][0]["Udfald"] == "AFHOLDT"
    assert shown["jobcentersager"][0]["status"] == "AFSLUTTET"


async def test_an_update_is_applied_once(ksd):
    """The same content under a new BeskedID gets the original receipt; other content under its id is O408."""
    case = await ksd.opened()
    message = ksd.visit(case)
    assert await ksd.send(message) == OK
    repeat = replace(message, Hoved=replace(message.Hoved, BeskedID=uuid4()))
    assert await ksd.send(repeat) == OK
    other = replace(message, Visitationskategori="1", Hoved=replace(message.Hoved, BeskedID=uuid4()))
    assert await ksd.send(other) == ("FEJL", ["O408"])
    assert (await ksd.case(case.SagsID))["version"] == 2


async def test_an_opdaterings_id_belongs_to_one_case(ksd):
    """The same words about another citizen are other content: O408, and not a receipt for what was never applied."""
    case = await ksd.opened()
    other = await ksd.opened(cpr=OTHER_CPR)
    message = ksd.m5(GyldigFra=date(2026, 2, 27))
    assert await ksd.send(message) == OK
    header = replace(message.Hoved, BeskedID=uuid4(), CprNummer=other.CprNummer)
    assert await ksd.send(replace(message, Hoved=header)) == ("FEJL", ["O408"])
    header = replace(header, BeskedID=uuid4(), CprNummer=case.CprNummer, NemrefusionsID=other.NemrefusionsID)
    assert await ksd.send(replace(message, Hoved=header)) == ("FEJL", ["O408"])
    await ksd.act("change_cpr", cpr=CPR, new_cpr=THIRD_CPR)
    header = replace(header, BeskedID=uuid4(), CprNummer=Cpr.parse(THIRD_CPR), NemrefusionsID=case.NemrefusionsID)
    assert await ksd.send(replace(message, Hoved=header)) == OK
    assert [len((await ksd.case(each.SagsID))["updates"]) for each in (case, other)] == [1, 0]


async def test_a_time_at_the_end_of_time_is_judged(ksd):
    """A follow-up planned for the last second of the year 9999 is a late one, not a failure of ours."""
    case = await ksd.opened()
    for planned in (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(9999, 12, 31, 12, 0, tzinfo=UTC)):
        talk = OpfoelgningType(
            Opfoelgningstype="LOEBENDE_OPFOELGNING", Form="TELEFON", PlanlagtTid=planned, Udfald=None
        )
        assert await ksd.send(ksd.m5(case, "OPFOELGNING", Opfoelgning=(talk,))) == OK


async def test_copies_that_come_at_once_are_applied_once(ksd):
    """Eight copies, half of them under BeskedIDs of their own: one version."""
    case = await ksd.opened()
    message = ksd.visit(case)
    own = [replace(message, Hoved=replace(message.Hoved, BeskedID=uuid4())) for _ in range(4)]
    receipts = await asyncio.gather(*(ksd.send(each) for each in (*([message] * 4), *own)))
    assert receipts == [OK] * 8
    assert (await ksd.case(case.SagsID))["version"] == 2


async def test_a_case_is_found_by_what_is_given(ksd):
    """By SagsID, else NemrefusionsID, else CPR; SagsID and NemrefusionsID must agree."""
    case = await ksd.opened()
    other = await ksd.opened(cpr=OTHER_CPR)
    assert await ksd.send(ksd.m5(nemref=case.NemrefusionsID)) == OK
    assert await ksd.send(ksd.m5(case, nemref=case.NemrefusionsID)) == OK
    assert await ksd.send(ksd.m5()) == OK
    assert await ksd.send(ksd.m5(case, nemref=other.NemrefusionsID)) == ("FEJL", ["O401"])
    assert await ksd.send(ksd.m5(nemref=uuid4())) == ("FEJL", ["O401"])
    assert len((await ksd.case(case.SagsID))["updates"]) == 3


async def test_two_open_cases_need_a_sags_id(ksd):
    """O409 counts the municipality's own open cases only; without an open one the latest ended is meant."""
    first, second = await ksd.opened(), await ksd.opened()
    await ksd.opened(municipality_cvr=AARHUS)
    assert await ksd.send(ksd.m5()) == ("FEJL", ["O409"])
    assert await ksd.send(ksd.m5(first)) == OK
    await ksd.act("end_case", sags_id=str(second.SagsID), on="2026-02-20")
    assert await ksd.send(ksd.m5()) == OK
    await ksd.act("end_case", sags_id=str(first.SagsID), on="2026-02-20")
    assert await ksd.send(ksd.m5()) == ("FEJL", ["O402"])


async def test_unknown_and_others_cases_are_the_same(ksd):
    """O401 for what never was, for another municipality's, and for nobody; O403 only for one's own."""
    case = await ksd.opened()
    assert await ksd.send(ksd.m5(replace(case, SagsID=uuid4()))) == ("FEJL", ["O401"])
    assert await ksd.send(ksd.m5(case, cvr=ODENSE)) == ("FEJL", ["O401"])
    assert await ksd.send(ksd.m5(cvr=ODENSE)) == ("FEJL", ["O401"])
    assert await ksd.send(ksd.m5(cpr=OTHER_CPR)) == ("FEJL", ["O401"])
    assert await ksd.send(ksd.m5(case, cpr=OTHER_CPR)) == ("FEJL", ["O403"])


async def test_a_former_municipality_may_write_to_the_end_of_the_moving_week(ksd):
    """Friday's update is taken, and told to the new municipality; Monday's is O404, even with an earlier day in it."""
    await ksd.seeded(state="OPLYST")
    case = ksd.gateway.m1[0].Sygefravaerssag
    await ksd.act("move_case", sags_id=str(case.SagsID), kommunekode="0751", on="2026-03-04")
    await ksd.pass_time(days=4)
    assert await ksd.send(ksd.visit(case)) == OK
    await ksd.quiet()
    assert ksd.gateway.m1[-1].Hoved.ModtagerMyndighedCVR == AARHUS
    friday = ksd.clock.now()
    await ksd.pass_time(days=3)
    assert await ksd.send(ksd.visit(case)) == ("FEJL", ["O404"])
    assert await ksd.send(ksd.visit(case, now=friday)) == OK
    assert await ksd.send(ksd.visit(case, cvr=AARHUS)) == OK


@pytest.mark.parametrize(
    ("kinds", "given", "code"),
    [
        (("VISITATION",), {"Visitationskategori": "3", "VisitationsDato": YESTERDAY}, "O405"),
        (("STANDBY",), {"GyldigFra": date(2026, 1, 11)}, "O406"),
        (("STANDBY",), {"GyldigFra": date(2026, 3, 3)}, "O407"),
        (("FORVENTET_RASKMELDING",), {"ForventetRaskmeldingsdato": date(2026, 1, 1)}, "O406"),
        (("OVERGANG",), {"Overgang": OvergangType(Type="BARSEL", Dato=date(2026, 4, 1))}, "O407"),
        (
            ("RASKMELDING",),
            {"Raskmelding": RaskmeldingType(SidsteFravaersdag=date(2026, 3, 3), MeddeltAf="LAEGE", MeddeltDato=TODAY)},
            "O407",
        ),
        (
            ("OPFOELGNING",),
            {
                "Opfoelgning": (
                    OpfoelgningType(
                        Opfoelgningstype="FOERSTE_OPFOELGNING",
                        Form="BREV",
                        PlanlagtTid=datetime(2026, 1, 1, tzinfo=UTC),
                    ),
                )
            },
            "O406",
        ),
    ],
)
async def test_days_and_codes_must_fit_the_case(ksd, kinds, given, code):
    """O405 kategori 3 after 2024, O406 before the first day of absence, O407 in the future: nothing is kept."""
    case = await ksd.opened()
    assert await ksd.send(ksd.m5(case, *kinds, **given)) == ("FEJL", [code])
    assert (await ksd.case(case.SagsID))["updates"] == []


async def test_kategori_3_was_valid_to_the_end_of_2024(ksd):
    """The code list dates it: 31 December 2024 is taken, 1 January 2025 is not."""
    case = await ksd.opened(FoersteFravaersdag="2024-12-01")
    taken = ksd.visit(case, "3", VisitationsDato=date(2024, 12, 31), GyldigFra=date(2024, 12, 31))
    assert await ksd.send(taken) == OK
    late = ksd.visit(case, "3", VisitationsDato=date(2025, 1, 1))
    assert await ksd.send(late) == ("FEJL", ["O405"])


async def test_an_ended_case_takes_what_was_before_its_end(ksd):
    """O402 for what is dated after the last day of absence; a reopened case takes it, with the same OpdateringID."""
    case = await ksd.opened()
    await ksd.act("end_case", sags_id=str(case.SagsID), on="2026-02-20")
    late = ksd.visit(case, VisitationsDato=date(2026, 2, 21), GyldigFra=date(2026, 2, 21))
    assert await ksd.send(late) == ("FEJL", ["O402"])
    early = ksd.visit(case, VisitationsDato=date(2026, 2, 19), GyldigFra=date(2026, 2, 19))
    assert await ksd.send(early) == OK
    assert (await ksd.case(case.SagsID))["version"] == 2
    await ksd.act("reopen_case", sags_id=str(case.SagsID))
    again = replace(late, Hoved=replace(late.Hoved, BeskedID=uuid4()))
    assert await ksd.send(again) == OK
    assert (await ksd.case(case.SagsID))["version"] == 4


async def test_a_substitute_number_is_taken_from_those_who_opted_in(ksd):
    """To others its case does not exist, in updates and in look-ups alike."""
    case = await ksd.opened(cpr=SUBSTITUTE)
    assert await ksd.send(ksd.m5(case, cpr=SUBSTITUTE)) == ("FEJL", ["O401"])
    assert (await ksd.look(case, cpr=SUBSTITUTE)).FejlListe.Fejl[0].FejlKode == "H501"
    assert (await ksd.listed(cpr=SUBSTITUTE)).FejlListe.Fejl[0].FejlKode == "H506"
    await ksd.act("policy", substitutes=[VIBORG])
    assert await ksd.send(ksd.m5(case, cpr=SUBSTITUTE)) == OK
    assert (await ksd.look(case, cpr=SUBSTITUTE)).Sygefravaerssag.SagsID == case.SagsID
    assert (await ksd.listed(cpr=SUBSTITUTE)).AntalIAlt == 1


async def test_nothing_personal_lies_in_the_clear(ksd):
    """No CPR, no employer's name, no reason and no user in any column of any table."""
    word = secrets.token_hex(6)
    case = await ksd.opened(Arbejdsgiver={"Navn": word})
    (event,) = ksd.gateway.m1
    await ksd.send(ksd.m2(event, "MODTAGET", reason=word))
    await ksd.look(case, user=word)
    await ksd.case(case.SagsID, reason=word)
    async with ksd.store.read() as tx:
        tables = await tx.all(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema"
        )
        assert len(tables) > 10
        for table in tables:
            rows = await tx.all(f"SELECT t::text AS line FROM {table['name']} t")
            for row in rows:
                for secret in (word, CPR):
                    assert secret not in row["line"]
                    assert secret.encode().hex() not in row["line"]
