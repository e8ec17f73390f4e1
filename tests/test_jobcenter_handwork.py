# SPDX-License-Identifier: MPL-2.0
"""What a person does in a jobcentre's cases, and every state of a jobcentersag entered and left, over real sockets."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from jobcenter_rig import AARHUS, CPR, OTHER_CPR, VIBORG, ended, granted, later, sag, said, scene
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import kvittering_advarsel, kvittering_fejl
from sygefravaer.contract.values import MUNICIPALITIES, Cpr
from sygefravaer.errors import ActRefused
from sygefravaer.jobcenter import Mode, Policy
from sygefravaer.lanes import Lanes

M5 = "SendOpdateringFravaer"
M4 = "SendForretningsSvarForlaengelse"


@pytest.fixture
def play(make_store, vault, clock, pki):
    """Give a way to start a scene in which requests wait for a person."""

    def start(**options):
        options = {"policy": Policy(extensions=Mode.MANUAL)} | options
        return scene(make_store=make_store, vault=vault, clock=clock, pki=pki, **options)

    return start


async def state(it, case) -> str:
    """Say which state a case's jobcentersag is in."""
    return (await it.the_case(case))["state"]


async def names(it, case) -> list[str]:
    """List what is due on a case, without the wider test."""
    return [duty["name"] for duty in (await it.the_case(case))["duties"] if duty["name"] != "wider test"]


def which(case):
    return {"sags_id": str(case.SagsID)}


async def test_the_states_of_follow_up(play):
    """MODTAGET, VISITERET, FOERSTE_OPFOELGNING, LOEBENDE_OPFOELGNING, UDEN_OPFOELGNING, STANDBY: in and out by hand."""
    async with play() as it:
        await it.tell(it.m1(case := sag(ForventetRaskmeldingsdato=date(2026, 3, 20))))
        assert await state(it, case) == "MODTAGET"
        assert await names(it, case) == ["visitation"]
        await it.act("visit", **which(case))
        assert await state(it, case) == "VISITERET"
        await it.act("visit", **which(case), Visitationskategori="2")
        assert await state(it, case) == "FOERSTE_OPFOELGNING"
        assert await names(it, case) == ["first talk"]
        await it.act("hold_talk", **which(case), Form="TELEFON")  # not in person: it does not count
        assert await state(it, case) == "FOERSTE_OPFOELGNING"
        await it.act("hold_talk", **which(case), AfholdtTid="2026-03-02T08:00:00Z")
        assert await state(it, case) == "LOEBENDE_OPFOELGNING"
        shown = await it.the_case(case)
        left = [duty["left"] for duty in shown["duties"] if duty["name"] == "follow-up"]
        assert left == [2]  # the call counts as a follow-up, though not as the first talk
        assert shown["may_exempt"] is True
        await it.act("exempt", **which(case))
        assert await state(it, case) == "UDEN_OPFOELGNING"
        assert await names(it, case) == []
        await it.act("hold_talk", **which(case), Opfoelgningstype="PAA_BORGERS_OENSKE")  # at his wish: still exempt
        assert await state(it, case) == "UDEN_OPFOELGNING"
        await it.act("standby", **which(case))
        assert await state(it, case) == "STANDBY"
        await it.act("hold_talk", **which(case))
        assert await state(it, case) == "LOEBENDE_OPFOELGNING"
        await it.quiet()
        assert [each.JobcentersagStatus for each in it.gateway.m5] == [
            *("VISITERET", "I_OPFOELGNING", "I_OPFOELGNING", "I_OPFOELGNING", "UDEN_OPFOELGNING_P13F"),
            *("UDEN_OPFOELGNING_P13F", "STANDBY", "I_OPFOELGNING"),
        ]
        assert it.gateway.m5[-1].Opfoelgning[0].Opfoelgningstype == "LOEBENDE_OPFOELGNING"
        assert it.gateway.m5[0].Visitationskategori == "1"


async def test_the_team(play, clock):
    """Kategori 3 of 2024: REHABTEAM with its own last day, left when the team has met; then the first talk is next."""
    async with play() as it:
        await it.tell(it.m1(case := sag(FoersteFravaersdag=date(2024, 11, 4))))
        await it.act("visit", **which(case), Visitationskategori="3", VisitationsDato="2024-12-16")
        assert await state(it, case) == "REHABTEAM"
        duties = [(duty["name"], duty["due"], duty["overdue"]) for duty in (await it.the_case(case))["duties"]]
        assert ("rehabiliteringsteam", "2025-01-13", True) in duties
        await it.act("hold_talk", **which(case), Opfoelgningstype="REHABTEAMMOEDE")
        assert await state(it, case) == "FOERSTE_OPFOELGNING"
        assert await names(it, case) == ["first talk"]
        await it.act("hold_talk", **which(case))
        assert await state(it, case) == "LOEBENDE_OPFOELGNING"
        await it.quiet()
        assert it.gateway.m5[0].JobcentersagStatus == "REHABTEAM"


async def test_an_assessment_is_a_duty_until_it_is_answered(play):
    """VURDERER_FORLAENGELSE is entered by the question and left by the answer; what happens meanwhile is kept."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.act("visit", **which(case))
        request = it.m3(case)
        await it.tell(request)
        shown = await it.the_case(case)
        assert (shown["state"], shown["status"]) == ("VURDERER_FORLAENGELSE", "VURDERER_FORLAENGELSE")
        (duty,) = [duty for duty in shown["duties"] if duty["name"] == "extension answer"]
        assert (duty["due"], duty["subject"], duty["overdue"]) == ("2026-04-16", str(request.AnmodningID), False)
        await it.act("hold_talk", **which(case))
        assert await state(it, case) == "VURDERER_FORLAENGELSE"
        await it.act("answer_extension", anmodning_id=str(request.AnmodningID), code="ACCEPTERET")
        assert await state(it, case) == "LOEBENDE_OPFOELGNING"
        assert "extension answer" not in await names(it, case)


async def test_two_questions_on_one_jobcentersag(play):
    """Both cases of a citizen are asked about: the assessment ends with the second answer, or with the second's end."""
    async with play() as it:
        one, other = sag(), sag()
        await it.tell(it.m1(one))
        await it.tell(it.m1(other))
        first, second = it.m3(one), it.m3(other)
        await it.tell(first)
        await it.tell(second)
        await it.act("answer_extension", anmodning_id=str(first.AnmodningID), code="ACCEPTERET")
        assert await state(it, one) == "VURDERER_FORLAENGELSE"
        await it.tell(it.m1(ended(other), "AFSLUTTET"))
        assert await state(it, one) == "MODTAGET"


async def test_a_new_question_takes_the_place_of_the_old(play):
    """KSD asks anew on a later version (after F307): the older request is withdrawn, and only the new one waits."""
    async with play(policy=Policy(extensions=Mode.SLOW)) as it:
        await it.tell(it.m1(case := sag()))
        old = it.m3(case)
        await it.tell(old)
        corrected = later(case, FoersteFravaersdag=date(2026, 1, 15))
        await it.tell(it.m1(corrected, "AENDRET", "FOERSTE_FRAVAERSDAG_RETTET"))
        new = it.m3(corrected, Svarfrist=date(2026, 4, 20))
        await it.tell(new)
        asked = [duty for duty in (await it.the_case(case))["duties"] if duty["name"] == "extension answer"]
        assert [duty["subject"] for duty in asked] == [str(new.AnmodningID)]
        await it.pass_time(days=60)
        assert [(m.AnmodningID, m.SagsVersion) for m in it.gateway.m4] == [
            (old.AnmodningID, 1),
            (new.AnmodningID, 2),
            (new.AnmodningID, 2),
        ]
        # an older question that arrives late does not take the place of the newer one
        await it.act("policy", extensions="manual")
        newest = it.m3(later(corrected))
        await it.tell(newest)
        await it.tell(it.m3(case))
        waiting = {each["anmodning_id"] for each in (await it.act("inbox"))["extensions"]}
        assert str(newest.AnmodningID) in waiting


@pytest.mark.parametrize(
    ("day", "aarsag", "scheme"),
    [
        ("2026-12-31T12:00:00Z", "INGEN_GRUND_OPFYLDT", "JOBAFKLARING"),
        ("2026-12-31T12:00:00Z", "VARIGHED_OPBRUGT", "JOBAFKLARING"),
        ("2026-12-31T23:30:00Z", "INGEN_GRUND_OPFYLDT", "NEDSAT_SATS"),
        ("2026-12-31T12:00:00Z", "ARBEJDSDYGTIG", None),
    ],
)
async def test_what_follows_a_refusal(play, day, aarsag, scheme):
    """JOBAFKLARING is entered by a refusal of who is still incapacitated; what it is called is the law's of that day."""
    async with play() as it:
        await it.act("clock", now=day)
        await it.tell(it.m1(case := sag()))
        request = it.m3(case)
        await it.tell(request)
        given = {"anmodning_id": str(request.AnmodningID), "code": "AFVIST", "Afvisningsaarsag": aarsag}
        await it.act("answer_extension", **given)
        shown = await it.the_case(case)
        assert (shown["state"], shown.get("scheme")) == ("JOBAFKLARING" if scheme else "MODTAGET", scheme)
        if scheme:
            assert shown["status"] == "OVERGAAET"
            assert [duty["name"] for duty in shown["duties"] if duty["name"] != "event answer"] == []
        await it.tell(it.m1(ended(case, "P24_OPHOER", AfslutningsDato=date(2027, 1, 1)), "AFSLUTTET"))
        shown = await it.the_case(case)
        assert (shown["state"], shown["scheme"]) == ("AFSLUTTET", "NEDSAT_SATS")
        again = replace(later(later(case)), SagsTilstand="LOEBENDE")
        await it.tell(it.m1(again, "AENDRET", "GENOPTAGET"))
        assert (await it.the_case(case)).get("scheme") is None


@pytest.mark.parametrize("cause", [code.kode for code in LISTS["afslutningsaarsager"]])
async def test_an_end_of_each_cause(play, cause):
    """It closes the jobcentersag, shows its scheme, and a question that comes after it is refused for what it was."""
    async with play(policy=Policy()) as it:
        tilstand = {"FLYTNING": "OVERFLYTTET", "ANNULLERET": "ANNULLERET"}.get(cause, "AFSLUTTET")
        await it.tell(it.m1(case := sag()))
        await it.tell(it.m1(over := ended(case, cause, SagsTilstand=tilstand), "AFSLUTTET"))
        shown = await it.the_case(case)
        incapacitated = cause in {"P24_OPHOER", "P27_3_UDLOEBET"}
        assert (shown["state"], shown.get("scheme")) == ("AFSLUTTET", "JOBAFKLARING" if incapacitated else None)
        assert shown["sygedagpengesager"][0]["ended_by"] == cause
        await it.tell(it.m3(over))
        await it.until(lambda: len(it.gateway.m4) == 2)
        wanted = {
            "ARBEJDSDYGTIG_P7": "ARBEJDSDYGTIG",
            "P24_OPHOER": "INGEN_GRUND_OPFYLDT",
            "P27_3_UDLOEBET": "VARIGHED_OPBRUGT",
            "FLYTNING": "BORGER_FLYTTET",
            "UDREJST": "BORGER_FLYTTET",
            "DOED": "BORGER_DOED",
            **dict.fromkeys(
                (
                    *("JOBAFKLARING", "RESSOURCEFORLOEB", "FLEKSJOB", "FOERTIDSPENSION", "SENIORPENSION"),
                    *("FOLKEPENSION", "REVALIDERING", "KONTANTHJAELP_MV", "A_KASSE", "BARSEL"),
                ),
                "OVERGAAET_ANDEN_YDELSE",
            ),
        }
        assert it.gateway.m4[1].Afvisningsaarsag == wanted.get(cause, "RASKMELDT")


async def test_a_transfer_names_its_scheme(play):
    """OVERGANG: the jobcentersag goes over to what was told."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        overgang = {"Type": "FLEKSJOB", "Dato": "2026-03-02"}
        await it.act("update", **which(case), Opdateringstype=["OVERGANG"], Overgang=overgang)
        shown = await it.the_case(case)
        assert (shown["state"], shown["scheme"]) == ("JOBAFKLARING", "FLEKSJOB")


@pytest.mark.parametrize(
    ("kind", "form", "outcome"),
    [
        ("FOERSTE_OPFOELGNING", "FREMMOEDE", "AFHOLDT"),
        ("LOEBENDE_OPFOELGNING", "TELEFON", "UDEBLIVELSE"),
        ("TIDLIG_OPFOELGNING", "DIGITALT_FREMMOEDE", "AFLYST_BORGER"),
        ("RASKMELDINGSKONTROL", "BREV", "AFLYST_KOMMUNE"),
        ("REHABTEAMMOEDE", "FREMMOEDE", "FRITAGET"),
        ("PAA_BORGERS_OENSKE", "TELEFON", "AFHOLDT"),
    ],
)
async def test_a_follow_up_is_kept_with_the_texts_of_its_codes(play, kind, form, outcome):
    """Type, form and outcome are told to KSD as given and shown in Danish; what is missed has its follow-on."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        given = {"Opfoelgningstype": kind, "Form": form}
        await it.act("plan_talk", **which(case), **given, PlanlagtTid="2026-03-02T08:30:00Z")
        assert "planned talk" in await names(it, case)
        await it.act("hold_talk", **which(case), **given, Udfald=outcome, PlanlagtTid="2026-03-02T08:30:00Z")
        await it.until(lambda: len(it.gateway.m5) == 2)
        assert it.gateway.m5[0].Opfoelgning[0].Udfald is None
        talk = it.gateway.m5[1].Opfoelgning[0]
        assert (talk.Opfoelgningstype, talk.Form, talk.Udfald) == (kind, form, outcome)
        assert (talk.AfholdtTid is not None) is (outcome == "AFHOLDT")
        plan, deed = (await it.the_case(case))["deeds"]
        assert (plan["closed"], plan["held"], deed["held"]) == (True, False, outcome == "AFHOLDT")
        texts = (deed["kind_text"], deed["form_text"], deed["outcome_text"])
        assert texts == (KIND_TEXTS[kind], FORM_TEXTS[form], OUTCOME_TEXTS[outcome])
        follow_on = {"UDEBLIVELSE": "MANGLENDE_MEDVIRKEN", "AFLYST_BORGER": "NY_TID", "AFLYST_KOMMUNE": "NY_TID"}
        assert [name for name in await names(it, case) if name.isupper()] == [
            name for name in [follow_on.get(outcome)] if name
        ]


KIND_TEXTS = {
    "FOERSTE_OPFOELGNING": "Første opfølgningssamtale",
    "LOEBENDE_OPFOELGNING": "Løbende opfølgning",
    "TIDLIG_OPFOELGNING": "Tidlig opfølgning (§§ 7 c og 7 e)",
    "RASKMELDINGSKONTROL": "Kontrol ved ventet raskmelding",
    "REHABTEAMMOEDE": "Møde i rehabiliteringsteamet",
    "PAA_BORGERS_OENSKE": "Opfølgning på borgerens ønske",
}
FORM_TEXTS = {
    "FREMMOEDE": "Personligt fremmøde",
    "TELEFON": "Telefonsamtale",
    "DIGITALT_FREMMOEDE": "Digitalt fremmøde",
    "BREV": "Brev",
}
OUTCOME_TEXTS = {
    "AFHOLDT": "Samtalen er afholdt",
    "UDEBLIVELSE": "Borgeren udeblev",
    "AFLYST_BORGER": "Aflyst af borgeren",
    "AFLYST_KOMMUNE": "Aflyst af kommunen",
    "FRITAGET": "Borgeren er fritaget",
}


async def test_missing_cooperation_is_told_once(play):
    """Who did not come: the duty is there until KSD has been told of it."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.act("hold_talk", **which(case), Udfald="UDEBLIVELSE", PlanlagtTid="2026-03-02T08:30:00Z")
        assert "MANGLENDE_MEDVIRKEN" in await names(it, case)
        block = {"HaendelsesDato": "2026-03-02", "Type": "UDEBLIVELSE"}
        await it.act("update", **which(case), Opdateringstype=["MANGLENDE_MEDVIRKEN"], ManglendeMedvirken=block)
        assert "MANGLENDE_MEDVIRKEN" not in await names(it, case)


async def reopened(it, case):
    """Tell that a case which had ended runs again."""
    again = replace(later(later(case)), SagsTilstand="LOEBENDE")
    await it.tell(it.m1(again, "AENDRET", "GENOPTAGET"))
    await it.quiet()


async def test_updates_of_an_ended_case_go_out_again_when_it_runs_again(play):
    """Scenario 10: two updates refused with O402; GENOPTAGET; both again, in order, new BeskedID, same OpdateringID."""
    async with play() as it:
        await it.tell(it.m1(case := sag(CprNummer=OTHER_CPR)))
        await it.tell(it.m1(ended(case), "AFSLUTTET"))
        it.gateway.says(M5, kvittering_fejl("O402"), kvittering_fejl("O402"), kvittering_fejl("O406"))
        for _ in range(3):
            await it.act("hold_talk", **which(case))
            it.clock.advance(timedelta(minutes=1))
            await it.quiet()
        assert [task["code"] for task in (await it.act("tasks"))["tasks"]] == ["O402", "O402", "O406"]
        again = replace(later(later(case)), CprNummer=CPR, TidligereCprNummer=(OTHER_CPR,))
        await it.tell(it.m1(again, "AENDRET", "GENOPTAGET"))
        await it.quiet()
        old, new = it.gateway.m5[:2], it.gateway.m5[3:]
        assert [each.OpdateringID for each in new] == [each.OpdateringID for each in old]
        assert [each.Opfoelgning for each in new] == [each.Opfoelgning for each in old]
        assert not {each.Hoved.BeskedID for each in new} & {each.Hoved.BeskedID for each in old}
        assert {each.Hoved.CprNummer for each in new} == {CPR}
        assert {each.Hoved.Afsendelsestidspunkt for each in new} == {it.clock.now()}
        assert [task["code"] for task in (await it.act("tasks"))["tasks"]] == ["O406"]
        await reopened(it, later(case))
        assert len(it.gateway.m5) == 5  # once is enough


async def test_a_refusal_that_comes_after_the_reopening(play):
    """The gateway still had it when the case ran again: it goes out again at once, and only once."""
    async with play(lanes=Lanes(jitter=lambda: 1.0)) as it:
        await it.tell(it.m1(case := sag()))
        await it.tell(it.m1(ended(case), "AFSLUTTET"))
        it.gateway.says(M5, kvittering_advarsel("G006"), *[kvittering_fejl("O402")] * 2)
        await it.act("hold_talk", **which(case))
        await it.quiet()
        it.clock.advance(timedelta(seconds=1))
        await reopened(it, case)
        await it.pass_time(minutes=5)
        ids = [each.Hoved.BeskedID for each in it.gateway.m5]
        assert (len(ids), len(set(ids)), len({each.OpdateringID for each in it.gateway.m5})) == (3, 2, 1)
        assert [task["code"] for task in (await it.act("tasks"))["tasks"]] == ["O402"]


async def test_an_update_is_sent_again_by_hand(play):
    """Any that was refused; one that was not has nothing to be sent again."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        it.gateway.says(M5, kvittering_fejl("O409"))
        first = await it.act("standby", **which(case))
        await it.quiet()
        second = await it.act("resend_update", besked_id=first["besked_id"])
        await it.quiet()
        assert [str(each.Hoved.BeskedID) for each in it.gateway.m5] == [first["besked_id"], second["besked_id"]]
        assert (await it.act("tasks"))["tasks"] == []
        for unknown in (second["besked_id"], str(uuid4())):
            with pytest.raises(ActRefused) as caught:
                await it.act("resend_update", besked_id=unknown)
            assert caught.value.code == "UpdateUnknown"


async def test_a_kategori_that_ksd_refuses_is_taken_back(play):
    """O405: the one before it stands again; O402 and the like leave what was done as it was."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.act("visit", **which(case), Visitationskategori="2")
        await it.quiet()
        it.gateway.says(M5, kvittering_fejl("O405"), kvittering_fejl("O407"), kvittering_fejl("O409"))
        await it.act("visit", **which(case), Visitationskategori="3")
        await it.quiet()
        shown = await it.the_case(case)
        assert (shown["state"], shown["kategori"], shown["visited"]) == ("FOERSTE_OPFOELGNING", "2", "2026-03-02")
        await it.act("hold_talk", **which(case), AfholdtTid="2026-03-03T08:00:00Z")
        await it.quiet()
        assert await state(it, case) == "FOERSTE_OPFOELGNING"
        assert "first talk" in await names(it, case)
        await it.act("hold_talk", **which(case))
        await it.quiet()
        assert await state(it, case) == "LOEBENDE_OPFOELGNING"


async def test_a_kategori_of_ksds_stands_again(play):
    """The kategori that came with the case is what is left when the own one is refused."""
    async with play() as it:
        await it.tell(it.m1(case := sag(Visitationskategori="1")))
        it.gateway.says(M5, kvittering_fejl("O405"))
        await it.act("visit", **which(case), Visitationskategori="3")
        await it.quiet()
        shown = await it.the_case(case)
        assert (shown["kategori"], shown.get("visited")) == ("1", None)


async def test_a_move_ends_what_was_planned(play):
    """The old municipality's jobcentersag closes with its open follow-ups; the new one's begins anew."""
    async with play(municipalities=(VIBORG, AARHUS)) as it:
        await it.tell(it.m1(case := sag(Visitationskategori="2")))
        await it.act("plan_talk", **which(case), municipality_cvr=VIBORG, PlanlagtTid="2026-03-20T09:00:00Z")
        there = later(case, Kommunekode=MUNICIPALITIES[AARHUS].kommunekode)
        left = replace(
            there, SagsTilstand="OVERFLYTTET", AfslutningsDato=date(2026, 3, 8), Afslutningsaarsag="FLYTNING"
        )
        await it.tell(it.m1(left, "AFSLUTTET", "KOMMUNE_SKIFT"))
        await it.tell(it.m1(later(there), "OPRETTET", "KOMMUNE_SKIFT", cvr=AARHUS))
        old = await it.act("case", **which(case), municipality_cvr=VIBORG)
        new = await it.act("case", **which(case), municipality_cvr=AARHUS)
        assert (old["state"], old["deeds"][0]["closed"], new["state"], new["deeds"]) == (
            "AFSLUTTET",
            True,
            "MODTAGET",
            [],
        )
        assert [duty["name"] for duty in old["duties"] if duty["name"] != "event answer"] == []
        assert "first talk" in [duty["name"] for duty in new["duties"]]


async def test_two_citizens_that_are_one_have_one_history(play):
    """A merge of numbers: deeds, kategori and what has come further go on in the jobcentersag that stays."""
    async with play() as it:
        substitute = Cpr.parse("6101505105")
        old, other = sag(CprNummer=substitute), sag(CprNummer=OTHER_CPR)
        await it.tell(it.m1(old))
        it.clock.advance(timedelta(minutes=1))
        await it.tell(it.m1(other))
        await it.act("visit", **which(other))
        await it.act("hold_talk", **which(other))
        await it.act("plan_talk", **which(other), PlanlagtTid="2026-04-01T09:00:00Z")
        renamed = later(old, CprNummer=OTHER_CPR, TidligereCprNummer=(substitute,))
        await it.tell(it.m1(renamed, "AENDRET", "CPR_SKIFT"))
        shown = await it.the_case(old)
        assert (shown["state"], shown["kategori"], len(shown["deeds"])) == ("LOEBENDE_OPFOELGNING", "2", 3)
        assert {"planned talk", "follow-up"} <= set(await names(it, old))
        assert len(shown["sygedagpengesager"]) == 2


async def test_what_is_due_over_all_cases(play):
    """By its last day, what is late marked; of the open cases only, and up to a day if one is given."""
    async with play(policy=Policy(events=Mode.MANUAL, extensions=Mode.MANUAL)) as it:
        early = sag(CprNummer=OTHER_CPR, FoersteFravaersdag=date(2025, 12, 1))
        await it.tell(first := it.m1(case := sag()))
        await it.tell(it.m1(early))
        await it.tell(it.m3(case))
        listed = (await it.act("duties"))["duties"]
        assert [duty["due"] for duty in listed] == sorted(duty["due"] for duty in listed)
        assert [(duty["name"], duty["due"], duty["overdue"]) for duty in listed] == [
            ("visitation", "2026-01-25", True),
            ("wider test", "2026-03-01", True),
            ("event answer", "2026-03-03", False),
            ("event answer", "2026-03-03", False),
            ("visitation", "2026-03-22", False),
            ("extension answer", "2026-04-16", False),
            ("wider test", "2026-04-26", False),
        ]
        assert str(first.Hoved.BeskedID) in {duty["subject"] for duty in listed}
        assert len((await it.act("duties", until="2026-03-03"))["duties"]) == 4
        assert len((await it.act("duties", limit=1))["duties"]) == 1
        await it.act("answer_event", besked_id=str(first.Hoved.BeskedID), code="ACCEPTERET")
        await it.tell(it.m1(ended(early), "AFSLUTTET"))
        found = [duty["name"] for duty in (await it.act("duties"))["duties"]]
        assert found.count("event answer") == 2  # of the two events of the case that has ended
        assert found.count("visitation") == found.count("wider test") == 1
        assert CPR.reveal() not in str(listed)


async def test_whatever_happens_moves_a_counter(play):
    """A deed without a message, a message, a receipt: health counts each, and none of them ever goes back."""
    async with play(policy=Policy(follow_up=Mode.DILIGENT)) as it:
        counters = ("received", "sent", "receipts", "deeds")
        before = [0, 0, 0, 0]
        await it.tell(it.m1(sag()))
        await it.quiet()
        for _ in range(3):
            health = await it.act("health")
            now = [health[name] for name in counters]
            assert all(new >= old for new, old in zip(now, before, strict=True))
            assert now != before
            before = now
            due = await it.act("due")
            await it.act("clock", now=due["next"])
            await it.quiet()
            assert (await it.act("due"))["counters"]["done"] > due["counters"]["done"]


async def test_extensions_are_tried_in_their_order(play):
    """The request's own clause, then what ends first, then as KSD names them; what is used up is passed over."""
    async with play(policy=Policy()) as it:
        used = granted("P27_1_2", date(2025, 1, 1), date(2026, 4, 30))
        everything = ("P27_1_1", "P27_1_3", "P27_1_5", "P27_1_2", "P29")
        for given, wanted in (
            ({"MuligeForlaengelseskoder": everything}, "P27_1_2"),
            ({"MuligeForlaengelseskoder": everything, "Anmodningstype": "FORNYET_FORLAENGELSE"}, "P27_1_2"),
            ({"MuligeForlaengelseskoder": everything, "Anmodningstype": "PENSIONIST_PARAGRAF25"}, "P29"),
            ({"MuligeForlaengelseskoder": ("P27_1_5", "P27_1_3")}, "P27_1_3"),
            ({"MuligeForlaengelseskoder": ("P27_1_7", "P27_1_6")}, "P27_1_7"),
            ({"MuligeForlaengelseskoder": ("P27_1_2", "P27_1_4"), "Forlaengelse": (used,)}, "P27_1_4"),
        ):
            before = len(it.gateway.m4)
            case = sag(Forlaengelse=given.pop("Forlaengelse", ()))
            await it.tell(it.m1(case))
            await it.tell(it.m3(case, **given))
            await it.until(lambda before=before: len(it.gateway.m4) == before + 2)
            assert it.gateway.m4[-1].Forlaengelseskode == wanted
        assert set(said(it.gateway.m4)) == {"MODTAGET", "ACCEPTERET"}
        assert it.clock.now() == datetime(2026, 3, 2, 9, tzinfo=UTC)
