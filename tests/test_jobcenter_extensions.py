# SPDX-License-Identifier: MPL-2.0
"""SF2093 at a jobcentre: over real TLS and a real database, between stand-ins for KSD's hand and the gateway."""

from datetime import date, timedelta
from uuid import uuid4

import pytest

from jobcenter_rig import CPR, OTHER_CPR, codes, ended, granted, later, sag, said, scene
from sygefravaer.contract.messages import kvittering_fejl, kvittering_ok
from sygefravaer.errors import ActRefused
from sygefravaer.jobcenter import Mode, Policy
from sygefravaer.lanes import Lanes


@pytest.fixture
def play(make_store, vault, clock, pki):
    """Give a way to start a scene."""

    def start(**options):
        return scene(make_store=make_store, vault=vault, clock=clock, pki=pki, **options)

    return start


async def known(it, **given):
    """Let the jobcentre know a case, and forget what it said to that."""
    await it.tell(it.m1(case := sag(**given)))
    await it.until(lambda: len(it.gateway.m2) == 2)
    return case


async def test_a_request_is_assessed_and_granted(play):
    """MODTAGET, then ACCEPTERET with code and period, header copied from the request."""
    async with play() as it:
        case = await known(it)
        request = it.m3(case)
        await it.tell(request)
        await it.until(lambda: len(it.gateway.m4) == 2)
        received, accepted = it.gateway.m4
        assert said([received, accepted]) == ["MODTAGET", "ACCEPTERET"]
        assert accepted.AnmodningID == request.AnmodningID
        assert accepted.Forlaengelseskode == "P27_1_2"
        assert accepted.ForlaengelseFra == date(2026, 5, 1)
        assert accepted.ForlaengelseTil == date(2026, 4, 30) + timedelta(weeks=26)
        assert (accepted.VurderingsDato, accepted.SagsVersion) == (date(2026, 3, 2), 1)
        head = accepted.Hoved
        assert (head.ReferenceBeskedID, head.KorrelationsID, head.NemrefusionsID, head.CprNummer) == (
            request.Hoved.BeskedID,
            request.Hoved.KorrelationsID,
            case.NemrefusionsID,
            CPR,
        )
        assert (received.ForlaengelseFra, received.ForlaengelseTil) == (None, None)
        assert (await it.the_case(case))["state"] == "MODTAGET"
        assert (await it.act("inbox"))["extensions"] == []


async def test_an_assessment_after_danish_midnight_is_of_the_next_day(play):
    """VurderingsDato and GyldigFra are Danish days: at 23.30 UTC it is tomorrow there."""
    async with play() as it:
        case = await known(it)
        await it.pass_time(hours=14, minutes=30)
        await it.tell(it.m3(case))
        await it.act("update", sags_id=str(case.SagsID), Opdateringstype=["STANDBY"])
        await it.until(lambda: len(it.gateway.m4) == 2 and len(it.gateway.m5) == 1)
        assert {each.VurderingsDato for each in it.gateway.m4} == {date(2026, 3, 3)}
        assert it.gateway.m5[0].GyldigFra == date(2026, 3, 3)


async def test_reminders_join_the_first_request(play):
    """Two reminders of a request that waits are one question; the answer refers to the newest of them."""
    async with play(policy=Policy(extensions=Mode.MANUAL)) as it:
        case = await known(it)
        first = it.m3(case)
        await it.tell(first)
        second = it.m3(case, anmodning_id=first.AnmodningID, rykker=2, Svarfrist=date(2026, 4, 23))
        await it.tell(second)
        await it.tell(it.m3(case, anmodning_id=first.AnmodningID, rykker=1))
        await it.quiet()
        assert said(it.gateway.m4) == ["MODTAGET"]
        (waiting,) = (await it.act("inbox"))["extensions"]
        assert (waiting["rykkernummer"], waiting["svarfrist"], waiting["answer"]) == (2, "2026-04-23", "MODTAGET")
        assert (await it.the_case(case))["state"] == "VURDERER_FORLAENGELSE"
        await it.act("answer_extension", anmodning_id=str(first.AnmodningID), code="ACCEPTERET")
        await it.until(lambda: len(it.gateway.m4) == 2)
        assert it.gateway.m4[1].Hoved.ReferenceBeskedID == second.Hoved.BeskedID
        assert it.gateway.m4[1].Hoved.KorrelationsID == first.Hoved.KorrelationsID
        received = (await it.act("messages"))["received"]
        assert [row["answer"] for row in received] == ["ACCEPTERET"] * 4


async def test_a_reminder_of_an_answered_request_is_not_answered_again(play):
    """The answer is on its way or there."""
    async with play() as it:
        case = await known(it)
        first = it.m3(case)
        await it.tell(first)
        await it.tell(it.m3(case, anmodning_id=first.AnmodningID, rykker=1))
        await it.quiet()
        assert said(it.gateway.m4) == ["MODTAGET", "ACCEPTERET"]


async def test_a_slow_jobcentre_answers_after_the_deadline(play):
    """Six days after Svarfrist; the reminder does not make it faster."""
    async with play(policy=Policy(extensions=Mode.SLOW)) as it:
        case = await known(it)
        first = it.m3(case)
        await it.tell(first)
        await it.pass_time(days=45)
        await it.tell(it.m3(case, anmodning_id=first.AnmodningID, rykker=1))
        await it.quiet()
        assert said(it.gateway.m4) == ["MODTAGET"]
        assert (await it.act("due"))["next"] == "2026-04-22T22:00:00+00:00"
        await it.pass_time(days=7)
        await it.until(lambda: len(it.gateway.m4) == 2)
        assert it.gateway.m4[1].VurderingsDato == date(2026, 4, 23)
        assert it.gateway.m4[1].ForlaengelseFra == date(2026, 5, 1)


async def test_a_slow_answer_that_the_end_of_the_case_overtakes(play):
    """AFSLUTTET withdraws the request: nothing more is said."""
    async with play(policy=Policy(extensions=Mode.SLOW)) as it:
        case = await known(it)
        request = it.m3(case)
        await it.tell(request)
        await it.tell(it.m1(ended(case), "AFSLUTTET"))
        await it.pass_time(days=60)
        assert said(it.gateway.m4) == ["MODTAGET"]
        assert (await it.the_case(case))["state"] == "AFSLUTTET"
        assert (await it.act("inbox"))["extensions"] == []


async def test_a_slow_jobcentre_that_is_told_to_wait_for_a_person(play):
    """What was put off is not said by itself any more; it goes to the inbox."""
    async with play(policy=Policy(extensions=Mode.SLOW)) as it:
        await it.tell(it.m3(await known(it)))
        await it.act("policy", extensions="manual")
        await it.pass_time(days=60)
        assert said(it.gateway.m4) == ["MODTAGET"]
        assert len((await it.act("inbox"))["extensions"]) == 1


@pytest.mark.parametrize("mode", [Mode.DILIGENT, Mode.SLOW, Mode.SILENT])
async def test_a_day_that_means_never_is_for_a_person(play, mode):
    """A RevurderingsDato or Svarfrist at the end of the calendar is taken, and no day is counted from it."""
    async with play(policy=Policy(extensions=mode)) as it:
        cases = await known(it), sag(CprNummer=OTHER_CPR)
        await it.tell(it.m1(cases[1]))
        for case, given in zip(cases, ({"RevurderingsDato": date.max}, {"Svarfrist": date.max}), strict=True):
            assert (await it.tell(it.m3(case, **given))).TransportKvittering == kvittering_ok()
        await it.quiet()
        assert said(it.gateway.m4) == ([] if mode is Mode.SILENT else ["MODTAGET", "MODTAGET"])
        assert len((await it.act("inbox"))["extensions"]) == 2


async def test_no_extension_by_hand_of_what_never_ends(play):
    """ACCEPTERET of a RevurderingsDato at the end of the calendar is refused at the door; the rest can be said."""
    async with play(policy=Policy(extensions=Mode.MANUAL)) as it:
        case = await known(it)
        request = it.m3(case, RevurderingsDato=date.max - timedelta(days=30))
        await it.tell(request)
        which = str(request.AnmodningID)
        for given in ({}, {"ForlaengelseTil": "9999-12-31"}):
            with pytest.raises(ActRefused, match="RevurderingsDato") as refused:
                await it.act("answer_extension", anmodning_id=which, code="ACCEPTERET", **given)
            assert refused.value.code == "RequestNeverEnds"
        await it.act("answer_extension", anmodning_id=which, code="MODTAGET")
        await it.act("answer_extension", anmodning_id=which, code="AFVIST")
        await it.until(lambda: len(it.gateway.m4) == 3)
        assert said(it.gateway.m4) == ["MODTAGET", "MODTAGET", "AFVIST"]
        assert it.gateway.m4[2].Afvisningsaarsag == "INGEN_GRUND_OPFYLDT"


async def test_a_reminder_that_means_never_leaves_a_slow_answer_to_a_person(play):
    """The answer was put off before KSD said that the RevurderingsDato is the end of the calendar."""
    async with play(policy=Policy(extensions=Mode.SLOW)) as it:
        case = await known(it)
        first = it.m3(case)
        await it.tell(first)
        await it.tell(it.m3(case, anmodning_id=first.AnmodningID, rykker=1, RevurderingsDato=date.max))
        await it.pass_time(days=60)
        assert said(it.gateway.m4) == ["MODTAGET"]
        assert len((await it.act("inbox"))["extensions"]) == 1


async def test_a_silent_jobcentre_says_nothing(play):
    """The request waits for a person."""
    async with play(policy=Policy(extensions=Mode.SILENT)) as it:
        await it.tell(it.m3(await known(it)))
        await it.pass_time(days=60)
        assert it.gateway.m4 == []
        assert len((await it.act("inbox"))["extensions"]) == 1


async def test_a_wrong_answer_is_refused_and_comes_back(play):
    """KSD's F303 makes a task, and the question is open again."""
    async with play(policy=Policy(extensions=Mode.WRONG)) as it:
        case = await known(it)
        it.gateway.says("SendForretningsSvarForlaengelse", kvittering_ok(), kvittering_fejl("F303"))
        request = it.m3(case)
        await it.tell(request)
        await it.until(lambda: len(it.gateway.m4) == 2)
        assert it.gateway.m4[1].Forlaengelseskode == "P24A6"
        await it.quiet()
        (task,) = (await it.act("tasks"))["tasks"]
        assert (task["code"], task["operation"], task["sags_id"]) == (
            "F303",
            "SendForretningsSvarForlaengelse",
            str(case.SagsID),
        )
        assert task["text"].startswith("KODE_IKKE_GYLDIG: ")
        (waiting,) = (await it.act("inbox"))["extensions"]
        assert waiting["anmodning_id"] == str(request.AnmodningID)
        await it.act("answer_extension", anmodning_id=str(request.AnmodningID), code="ACCEPTERET")
        await it.act("task_done", task_id=task["task_id"])
        await it.until(lambda: len(it.gateway.m4) == 3)
        assert it.gateway.m4[2].Forlaengelseskode == "P27_1_2"
        assert (await it.act("tasks"))["tasks"] == []


async def refused_after_all(it, case, which: str) -> str:
    """Let KSD take a refusal for want of a ground; give the state that leaves the jobcentersag in."""
    await it.act("answer_extension", anmodning_id=which, code="AFVIST", Afvisningsaarsag="INGEN_GRUND_OPFYLDT")
    await it.quiet()
    return (await it.the_case(case))["state"]


@pytest.mark.parametrize("code", ["F303", "F304", "F305", "F307", "F309", "G001"])
async def test_an_answer_that_ksd_refuses_is_assessed_again(play, code):
    """The jobcentersag is back in VURDERER_FORLAENGELSE, so that a refusal then still leads to JOBAFKLARING."""
    async with play(policy=Policy(extensions=Mode.MANUAL)) as it:
        case = await known(it)
        await it.act("update", sags_id=str(case.SagsID), Opdateringstype=["STANDBY"])
        it.gateway.says("SendForretningsSvarForlaengelse", kvittering_ok(), kvittering_fejl(code))
        request = it.m3(case)
        await it.tell(request)
        which = str(request.AnmodningID)
        await it.act("answer_extension", anmodning_id=which, code="ACCEPTERET")
        await it.quiet()
        assert (await it.the_case(case))["state"] == "VURDERER_FORLAENGELSE"
        assert await refused_after_all(it, case, which) == "JOBAFKLARING"


async def test_a_refusal_that_ksd_refuses_is_no_jobafklaring(play):
    """Neither a refusal that KSD did not take, nor what it interrupted, is lost when the question is answered anew."""
    async with play(policy=Policy(extensions=Mode.MANUAL)) as it:
        case = await known(it)
        await it.act("update", sags_id=str(case.SagsID), Opdateringstype=["STANDBY"])
        it.gateway.says("SendForretningsSvarForlaengelse", kvittering_ok(), kvittering_fejl("F307"))
        request = it.m3(case)
        await it.tell(request)
        which = str(request.AnmodningID)
        assert await refused_after_all(it, case, which) == "VURDERER_FORLAENGELSE"
        await it.act("answer_extension", anmodning_id=which, code="ACCEPTERET")
        await it.quiet()
        assert (await it.the_case(case))["state"] == "STANDBY"


async def test_what_ended_meanwhile_is_not_assessed_again(play):
    """A jobcentersag that was closed, or went over to another scheme, before KSD refused its answer stays so."""
    for update, state in (("SAG_LUKKET", "AFSLUTTET"), ("OVERGANG", "JOBAFKLARING")):
        block = {"Overgang": {"Type": "JOBAFKLARING", "Dato": "2026-03-02"}} if update == "OVERGANG" else {}
        async with play(policy=Policy(extensions=Mode.MANUAL), lanes=Lanes(jitter=lambda: 1.0)) as it:
            case = await known(it)
            request = it.m3(case)
            await it.tell(request)
            await it.quiet()
            it.gateway.answers["SendForretningsSvarForlaengelse"].append(RuntimeError("down"))
            it.gateway.says("SendForretningsSvarForlaengelse", kvittering_fejl("F307"))
            await it.act("answer_extension", anmodning_id=str(request.AnmodningID), code="ACCEPTERET")
            await it.quiet()
            await it.act("update", sags_id=str(case.SagsID), Opdateringstype=[update], **block)
            await it.pass_time(seconds=1)
            await it.until(lambda it=it: len(it.gateway.m4) == 3)
            await it.quiet()
            assert [task["code"] for task in (await it.act("tasks"))["tasks"]] == ["F307"]
            assert (await it.the_case(case))["state"] == state


async def test_a_refused_word_that_was_not_final_reopens_nothing(play):
    """KSD refuses MODTAGET and takes ACCEPTERET: the question has its answer."""
    async with play() as it:
        case = await known(it)
        it.gateway.says("SendForretningsSvarForlaengelse", kvittering_fejl("F307"), kvittering_ok())
        await it.tell(it.m3(case))
        await it.until(lambda: len(it.gateway.m4) == 2)
        await it.quiet()
        assert [task["code"] for task in (await it.act("tasks"))["tasks"]] == ["F307"]
        assert (await it.act("inbox"))["extensions"] == []
        assert (await it.the_case(case))["state"] == "MODTAGET"


async def test_a_refusal_that_ends_the_question(play):
    """F301: the request was withdrawn; a task, and nothing to answer."""
    async with play() as it:
        case = await known(it)
        it.gateway.says("SendForretningsSvarForlaengelse", kvittering_fejl("F301"), kvittering_fejl("F301"))
        await it.tell(it.m3(case))
        await it.until(lambda: len(it.gateway.m4) == 2)
        await it.quiet()
        assert [task["code"] for task in (await it.act("tasks"))["tasks"]] == ["F301", "F301"]
        assert (await it.act("inbox"))["extensions"] == []


async def test_facts_that_refuse(play):
    """Unknown here; ended; of another municipality: the reason is told."""
    async with play() as it:
        await it.tell(it.m3(sag()))
        await it.until(lambda: len(it.gateway.m4) == 2)
        assert it.gateway.m4[-1].Afvisningsaarsag == "SAG_UKENDT_I_JOBCENTER"
        case = await known(it)
        await it.tell(it.m1(over := ended(case, "FLEKSJOB"), "AFSLUTTET"))
        await it.tell(it.m3(over))
        await it.until(lambda: len(it.gateway.m4) == 4)
        assert it.gateway.m4[-1].Afvisningsaarsag == "OVERGAAET_ANDEN_YDELSE"
        assert (await it.the_case(case))["state"] == "AFSLUTTET"


async def test_what_was_granted_before_counts(play):
    """VARIGHED_OPBRUGT when nothing is left, and the citizen goes on to jobafklaring."""
    async with play() as it:
        case = await known(it)
        used = granted("P27_1_2", date(2024, 1, 1), date(2025, 12, 31))
        await it.tell(
            it.m3(
                later(case, Forlaengelse=(used,)),
                Anmodningstype="FORNYET_FORLAENGELSE",
                MuligeForlaengelseskoder=("P27_1_2",),
            )
        )
        await it.until(lambda: len(it.gateway.m4) == 2)
        refused = it.gateway.m4[-1]
        assert refused.Afvisningsaarsag == "VARIGHED_OPBRUGT"
        assert (refused.ForlaengelseFra, refused.ForlaengelseTil) == (None, None)
        assert refused.SagsVersion == 2
        assert (await it.the_case(case))["state"] == "JOBAFKLARING"


async def test_pensioners(play):
    """PENSIONIST_PARAGRAF25 is answered with P29."""
    async with play() as it:
        case = await known(it)
        await it.tell(it.m3(case, Anmodningstype="PENSIONIST_PARAGRAF25", MuligeForlaengelseskoder=("P27_1_2", "P29")))
        await it.until(lambda: len(it.gateway.m4) == 2)
        assert it.gateway.m4[-1].Forlaengelseskode == "P29"


async def test_by_hand_everything_can_be_said(play):
    """Each field of M4 can be given; what is not is what a diligent jobcentre would say."""
    async with play(policy=Policy(extensions=Mode.MANUAL)) as it:
        case = await known(it)
        request = it.m3(case)
        await it.tell(request)
        which = str(request.AnmodningID)
        await it.act("answer_extension", anmodning_id=which, code="MODTAGET")
        await it.act(
            "answer_extension",
            anmodning_id=which,
            code="ACCEPTERET",
            Forlaengelseskode="P27_1_3",
            ForlaengelseFra="2026-05-02",
            ForlaengelseTil="2026-06-01",
            VurderingsDato="2026-03-01",
            SagsVersion=7,
            NaesteOpfoelgning="2026-04-01",
            Begrundelse="efter aftale",
        )
        await it.act("answer_extension", anmodning_id=which, code="AFVIST")
        await it.act("answer_extension", anmodning_id=which, code="AFVIST", Afvisningsaarsag="GRUNDLAG_MANGLER")
        await it.until(lambda: len(it.gateway.m4) == 5)
        _, again, accepted, refused, lacking = it.gateway.m4
        assert said([again]) == ["MODTAGET"]
        assert (accepted.Forlaengelseskode, accepted.ForlaengelseFra, accepted.ForlaengelseTil) == (
            "P27_1_3",
            date(2026, 5, 2),
            date(2026, 6, 1),
        )
        assert (accepted.VurderingsDato, accepted.SagsVersion, accepted.NaesteOpfoelgning) == (
            date(2026, 3, 1),
            7,
            date(2026, 4, 1),
        )
        assert accepted.Forretningskvittering.Begrundelse == "efter aftale"
        assert (refused.Afvisningsaarsag, lacking.Afvisningsaarsag) == ("INGEN_GRUND_OPFYLDT", "GRUNDLAG_MANGLER")
        with pytest.raises(ActRefused, match="anmodning_id"):
            await it.act("answer_extension", anmodning_id=str(uuid4()), code="MODTAGET")
        with pytest.raises(ActRefused, match="code list"):
            await it.act("answer_extension", anmodning_id=which, code="ACCEPTERET", Forlaengelseskode="P99")
        assert (await it.act("messages"))["sent"][0]["content"] != "P99"


async def test_a_swapped_code(play):
    """Two codes change places in what is written, and the case goes on as if nothing were wrong."""
    async with play() as it:
        case = await known(it)
        await it.act("chaos", swapped_code=["P27_1_2", "P27_1_3"])
        await it.tell(it.m3(case))
        await it.until(lambda: len(it.gateway.m4) == 2)
        assert it.gateway.m4[-1].Forlaengelseskode == "P27_1_3"
        await it.act("chaos", swapped_code=["B105", "B106"])
        await it.tell(it.m1(ended(case), "AFSLUTTET"))
        await it.tell(it.m1(later(case, SagsVersion=3), "AENDRET"))
        await it.until(lambda: said(it.gateway.m2)[-1] == "AFVIST")
        assert codes(it.gateway.m2[-1].Forretningskvittering.FejlListe) == ["B106"]
        assert (await it.act("chaos", reset=True)) == {
            "answer_late": 0.0,
            "close_after_apply": 0,
            "refuse_connections": False,
            "swapped_code": [],
        }
