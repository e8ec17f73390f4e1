# SPDX-License-Identifier: MPL-2.0
"""SF2090 at a jobcentre: over real TLS and a real database, between stand-ins for KSD's hand and the gateway."""

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from uuid import uuid4

import pytest

from jobcenter_rig import (
    AARHUS,
    CPR,
    JC_SYSTEM,
    OTHER_CPR,
    VIBORG,
    codes,
    ended,
    later,
    sag,
    said,
    scene,
)
from sygefravaer.client import Client, client_tls
from sygefravaer.contract.messages import HentSagResponse, fejlliste, kvittering_ok
from sygefravaer.contract.operations import Service
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import FaultReceived, HttpFailure, UsageError
from sygefravaer.jobcenter import Jobcenter, Mode, Policy


@pytest.fixture
def play(make_store, vault, clock, pki):
    """Give a way to start a scene."""

    def start(**options):
        return scene(make_store=make_store, vault=vault, clock=clock, pki=pki, **options)

    return start


async def test_a_new_case_is_taken_answered_and_opened(play, clock):
    """OPRETTET: receipt OK, MODTAGET and then ACCEPTERET with the jobcentersag's id, header as the contract says."""
    async with play() as it:
        event = it.m1(case := sag())
        receipt = await it.tell(event)
        assert receipt.TransportKvittering == kvittering_ok()
        await it.until(lambda: len(it.gateway.m2) == 2)
        received, accepted = it.gateway.m2
        shown = await it.the_case(case)
        assert said([received, accepted]) == ["MODTAGET", "ACCEPTERET"]
        assert str(accepted.JobcentersagID) == shown["jobcentersag_id"]
        assert (accepted.SagsID, accepted.SagsVersion, accepted.ModtagetTidspunkt) == (case.SagsID, 1, clock.now())
        head = accepted.Hoved
        assert head.ReferenceBeskedID == event.Hoved.BeskedID
        assert head.KorrelationsID == event.Hoved.KorrelationsID
        assert head.NemrefusionsID == case.NemrefusionsID
        assert head.CprNummer == CPR
        assert (head.AfsenderMyndighedCVR, head.ModtagerMyndighedCVR, head.Kommunekode) == (VIBORG, VIBORG, "0791")
        assert (head.AfsenderSystemID, head.ModtagerSystemID, head.Beskedtype, head.SnitfladeID) == (
            JC_SYSTEM,
            None,
            "SendForretningsSvar",
            "SF2090",
        )
        assert accepted.AuthorityContext.MunicipalityCVR == VIBORG
        assert received.Hoved.BeskedID != head.BeskedID
        assert (shown["state"], shown["status"], shown["first_day"]) == ("MODTAGET", "MODTAGET", "2026-01-26")
        assert shown["cpr"] == "**********"
        assert shown["snapshots"][str(case.SagsID)]["CprNummer"] == "**********"


async def test_the_same_event_three_times_is_applied_once(play):
    """A copy gets the receipt of the first; the same BeskedID with other content is G002."""
    async with play() as it:
        event = it.m1(sag())
        receipts = [await it.tell(event) for _ in range(3)]
        assert receipts == [receipts[0]] * 3
        other = replace(event, HaendelsesDato=date(2026, 2, 1))
        assert codes((await it.tell(other)).TransportKvittering.FejlListe) == ["G002"]
        await it.quiet()
        assert said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"]


async def test_two_copies_at_the_same_moment(play):
    """The one waits for the other and gets its receipt."""
    async with play() as it:
        event = it.m1(sag())
        receipts = await asyncio.gather(*(it.tell(event) for _ in range(4)))
        assert all(each.TransportKvittering == kvittering_ok() for each in receipts)
        await it.quiet()
        assert len(it.gateway.m2) == 2


async def test_out_of_order(play):
    """Version 3 first: applied at once and MODTAGET; 1 and 2 are obsolete; OPRETTET then settles version 3."""
    async with play() as it:
        first = sag()
        second, third = later(first), later(first, SagsVersion=3, SagsTilstand="DELVIST_RASKMELDT")
        await it.tell(it.m1(third, "AENDRET"))
        await it.quiet()
        assert said(it.gateway.m2) == ["MODTAGET"]
        assert (await it.the_case(first))["sygedagpengesager"][0]["version"] == 3
        await it.tell(it.m1(second, "AENDRET"))
        await it.tell(it.m1(first))
        await it.until(lambda: len(it.gateway.m2) == 4)
        answers = [
            (m.SagsVersion, m.Forretningskvittering.ForretningsValideringsKode, m.Forretningskvittering.Begrundelse)
            for m in it.gateway.m2[1:]
        ]
        assert sorted(answers, key=str) == [
            (1, "MODTAGET", "FORAELDET_VERSION"),
            (2, "MODTAGET", "FORAELDET_VERSION"),
            (3, "ACCEPTERET", None),
        ]
        shown = (await it.the_case(first))["sygedagpengesager"][0]
        assert (shown["version"], shown["tilstand"], shown["opened"]) == (3, "DELVIST_RASKMELDT", True)
        await it.pass_time(hours=25)
        assert not it.gateway.came["HentSag"]


async def test_a_change_that_was_never_opened_asks_ksd_and_is_refused(play):
    """After 24 h HentSag; on H501 AFVIST B104, with the event's KorrelationsID in the question."""
    async with play() as it:
        event = it.m1(case := later(sag()), "AENDRET")
        await it.tell(event)
        await it.pass_time(hours=23)
        assert not it.gateway.came["HentSag"]
        await it.pass_time(hours=1)
        await it.until(lambda: len(it.gateway.m2) == 2)
        (question,) = it.gateway.came["HentSag"]
        assert question.SagsID == case.SagsID
        assert question.Hoved.KorrelationsID == event.Hoved.KorrelationsID
        assert question.Hoved.NemrefusionsID == case.NemrefusionsID
        assert said(it.gateway.m2) == ["MODTAGET", "AFVIST"]
        assert codes(it.gateway.m2[1].Forretningskvittering.FejlListe) == ["B104"]
        (closed,) = (await it.act("cases"))["cases"]
        assert (closed["state"], closed["sygedagpengesager"]) == ("AFSLUTTET", [])


async def test_a_change_that_is_told_again_still_waits_for_its_opening(play):
    """The same version in a new message says no more than the first did: both wait for OPRETTET, or for HentSag."""
    async with play() as it:
        case = later(sag())
        for _ in range(2):
            await it.tell(it.m1(case, "AENDRET"))
        await it.quiet()
        assert said(it.gateway.m2) == ["MODTAGET", "MODTAGET"]
        await it.pass_time(hours=24)
        await it.until(lambda: len(it.gateway.m2) == 4)
        assert said(it.gateway.m2[2:]) == ["AFVIST", "AFVIST"]
        assert len(it.gateway.came["HentSag"]) == 1


async def test_a_change_whose_case_ksd_knows_is_accepted(play):
    """HentSag answers with the case, newer by then: it is taken over, and the change is accepted."""
    async with play() as it:
        first = later(sag())
        it.gateway.answers["HentSag"].append(HentSagResponse(Sygefravaerssag=later(first, SagsVersion=5)))
        await it.tell(it.m1(first, "AENDRET"))
        await it.pass_time(hours=24)
        await it.until(lambda: len(it.gateway.m2) == 2)
        assert said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"]
        shown = (await it.the_case(first))["sygedagpengesager"][0]
        assert (shown["version"], shown["opened"]) == (5, True)


async def test_a_case_that_has_ended_at_ksd_meanwhile_ends_here_too(play):
    """HentSag tells of the end; an older picture than the known one changes nothing."""
    async with play() as it:
        first, other = later(sag()), later(sag(CprNummer=OTHER_CPR), SagsVersion=7)
        it.gateway.answers["HentSag"] += [
            HentSagResponse(Sygefravaerssag=ended(first)),
            HentSagResponse(Sygefravaerssag=later(other, SagsVersion=6)),
        ]
        await it.tell(it.m1(first, "AENDRET"))
        it.clock.advance(timedelta(minutes=1))
        await it.tell(it.m1(other, "AENDRET"))
        await it.pass_time(hours=24)
        await it.until(lambda: len(it.gateway.m2) == 4)
        assert (await it.the_case(first))["state"] == "AFSLUTTET"
        assert (await it.the_case(other))["sygedagpengesager"][0]["version"] == 7


async def test_a_failed_question_is_asked_again_after_an_hour(play):
    """A look-up that KSD could not answer changes nothing but the time of the next one."""
    async with play() as it:
        it.gateway.answers["HentSag"].append(RuntimeError("down"))
        await it.tell(it.m1(later(sag()), "AENDRET"))
        await it.pass_time(hours=24)
        await it.until(lambda: len(it.gateway.came["HentSag"]) == 1)
        await it.pass_time(minutes=59)
        assert len(it.gateway.came["HentSag"]) == 1
        await it.pass_time(minutes=2)
        await it.until(lambda: len(it.gateway.m2) == 2)
        assert len(it.gateway.came["HentSag"]) == 2


async def test_an_answer_that_fits_nothing_waits_for_a_person(play):
    """H503 is no H501: the change stays in the inbox, and nothing more is asked."""
    async with play() as it:
        event = it.m1(later(sag()), "AENDRET")
        it.gateway.answers["HentSag"] += [HentSagResponse(FejlListe=fejlliste("H503")), HentSagResponse()]
        await it.tell(event)
        assert (await it.act("inbox"))["events"] == []
        await it.pass_time(hours=24)
        await it.until(lambda: len(it.gateway.came["HentSag"]) == 1)
        await it.quiet()
        (waiting,) = (await it.act("inbox"))["events"]
        assert waiting["besked_id"] == str(event.Hoved.BeskedID)
        assert (await it.act("due"))["next"] is None


async def test_opening_while_ksd_is_asked(play):
    """OPRETTET that comes during the question makes the answer needless."""
    async with play() as it:
        first = sag()
        change = it.m1(later(first), "AENDRET")
        await it.tell(change)
        arrived, go_on = asyncio.Event(), asyncio.Event()
        take = it.gateway.take

        async def slowly(call):
            arrived.set()
            await go_on.wait()
            return await take(call)

        it.hub._handlers["HentSag"] = slowly
        it.clock.advance(timedelta(hours=24))
        await asyncio.wait_for(arrived.wait(), 5)
        await it.tell(it.m1(first))
        go_on.set()
        await it.until(lambda: len(it.gateway.m2) == 3)
        await it.quiet()
        assert "AFVIST" not in said(it.gateway.m2)
        assert (await it.the_case(first))["sygedagpengesager"][0]["opened"] is True


async def test_a_change_of_an_ended_case_is_refused_unless_it_is_reopened(play):
    """B105 without GENOPTAGET; with it the case and its jobcentersag run again, in the state they had."""
    async with play() as it:
        case = sag()
        await it.tell(it.m1(case))
        await it.act("update", sags_id=str(case.SagsID), **VISITED)
        await it.tell(it.m1(over := ended(case), "AFSLUTTET"))
        assert (await it.the_case(case))["state"] == "AFSLUTTET"
        await it.tell(it.m1(later(over), "AENDRET"))
        await it.until(lambda: "AFVIST" in said(it.gateway.m2))
        (refusal,) = [m for m in it.gateway.m2 if m.Forretningskvittering.ForretningsValideringsKode == "AFVIST"]
        assert codes(refusal.Forretningskvittering.FejlListe) == ["B105"]
        again = later(over, SagsVersion=4, SagsTilstand="LOEBENDE", Afslutningsaarsag=None, AfslutningsDato=None)
        await it.tell(it.m1(again, "AENDRET", "GENOPTAGET"))
        shown = await it.the_case(case)
        assert (shown["state"], shown["sygedagpengesager"][0]["version"]) == ("FOERSTE_OPFOELGNING", 4)


VISITED = {"Opdateringstype": ["VISITATION"], "Visitationskategori": "2", "VisitationsDato": "2026-03-02"}


async def test_the_same_version_with_other_content(play):
    """B106; the same content under a new BeskedID is answered like the first."""
    async with play() as it:
        case = sag()
        await it.tell(it.m1(case))
        await it.tell(it.m1(case))
        await it.tell(it.m1(replace(case, Sagsart="12")))
        await it.until(lambda: len(it.gateway.m2) == 6)
        assert said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"] * 2 + ["MODTAGET", "AFVIST"]
        assert codes(it.gateway.m2[-1].Forretningskvittering.FejlListe) == ["B106"]
        assert (await it.the_case(case))["snapshots"][str(case.SagsID)]["Sagsart"] == "11"


@pytest.mark.parametrize(("fact", "code"), [("moved", "B101"), ("unknown", "B102"), ("dead", "B103")])
async def test_what_the_municipalitys_register_holds_against_a_citizen(play, fact, code):
    """B101, B102, B103 for a new case; the end of one is taken from anybody."""
    async with play() as it:
        await it.act("citizen", cpr=CPR.reveal(), fact=fact)
        await it.tell(it.m1(case := sag()))
        await it.until(lambda: len(it.gateway.m2) == 2)
        assert codes(it.gateway.m2[1].Forretningskvittering.FejlListe) == [code]
        assert it.gateway.m2[1].JobcentersagID is None
        await it.act("citizen", cpr=CPR.reveal(), fact="known")
        await it.tell(it.m1(case))
        await it.until(lambda: len(it.gateway.m2) == 4)
        assert said(it.gateway.m2)[2:] == ["MODTAGET", "ACCEPTERET"]


async def test_a_move(play):
    """AFSLUTTET FLYTNING ends the case though its Kommunekode is the new one's; a change after that is B101."""
    async with play() as it:
        case = sag()
        await it.tell(it.m1(case))
        gone = ended(case, "FLYTNING", SagsTilstand="OVERFLYTTET", Kommunekode="0751")
        await it.tell(it.m1(gone, "AFSLUTTET"))
        await it.tell(it.m1(later(gone), "AENDRET"))
        await it.until(lambda: len(it.gateway.m2) == 6)
        assert said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"] * 2 + ["MODTAGET", "AFVIST"]
        assert codes(it.gateway.m2[-1].Forretningskvittering.FejlListe) == ["B101"]
        assert (await it.the_case(case))["state"] == "AFSLUTTET"


async def test_one_system_for_two_municipalities(play):
    """A case that moves within one system has two jobcentersager, and neither answers for the other."""
    async with play(municipalities=(VIBORG, AARHUS)) as it:
        case = sag()
        await it.tell(it.m1(case))
        moved = later(case, Kommunekode="0751")
        await it.tell(it.m1(ended(moved, "FLYTNING", SagsVersion=2), "AFSLUTTET"))
        await it.tell(it.m1(replace(moved, SagsVersion=3), cvr=AARHUS))
        await it.until(lambda: len(it.gateway.m2) == 6)
        assert {m.Hoved.AfsenderMyndighedCVR for m in it.gateway.m2 if m.SagsVersion == 3} == {AARHUS}
        here, there = [await it.the_case(case, municipality_cvr=cvr) for cvr in (VIBORG, AARHUS)]
        assert (here["state"], there["state"]) == ("AFSLUTTET", "MODTAGET")
        assert here["jobcentersag_id"] != there["jobcentersag_id"]


async def test_a_municipality_that_is_not_served(play):
    """A message that was routed wrong is refused in the receipt: nothing could be answered on its behalf."""
    async with play() as it:
        case = sag(cvr=AARHUS)
        for message in (it.m1(case, cvr=AARHUS), it.m3(case, cvr=AARHUS)):
            assert codes((await it.tell(message)).TransportKvittering.FejlListe) == ["G004"]
        assert (await it.act("cases"))["cases"] == []


async def test_two_employers_make_one_jobcentersag(play):
    """Parallel cases hang on one jobcentersag, which closes with the last of them."""
    async with play() as it:
        one, other = sag(), sag(FoersteFravaersdag=date(2026, 1, 5))
        await it.tell(it.m1(one))
        await it.tell(it.m1(other))
        assert len((await it.act("cases"))["cases"]) == 1
        shown = await it.the_case(one)
        assert (len(shown["sygedagpengesager"]), shown["first_day"]) == (2, "2026-01-05")
        await it.tell(it.m1(ended(other), "AFSLUTTET"))
        shown = await it.the_case(one)
        assert (shown["state"], shown["first_day"]) == ("MODTAGET", "2026-01-26")
        await it.tell(it.m1(ended(one), "AFSLUTTET"))
        assert (await it.the_case(one))["state"] == "AFSLUTTET"


async def test_two_first_events_of_a_citizen_at_the_same_moment(play):
    """However they race, the citizen has one open jobcentersag."""
    async with play() as it:
        cases = [sag() for _ in range(6)]
        await asyncio.gather(*(it.tell(it.m1(case)) for case in cases))
        (shown,) = (await it.act("cases"))["cases"]
        assert len(shown["sygedagpengesager"]) == 6


async def test_a_new_number_of_a_known_citizen(play):
    """CPR_SKIFT renames the jobcentersag; two that turn out to be one citizen's become the older one."""
    async with play() as it:
        substitute = Cpr.parse("6101505105")
        old, other = sag(CprNummer=substitute), sag(CprNummer=OTHER_CPR)
        await it.tell(it.m1(old))
        it.clock.advance(timedelta(minutes=1))
        await it.tell(it.m1(other))
        assert len((await it.act("cases"))["cases"]) == 2
        renamed = later(old, CprNummer=OTHER_CPR, TidligereCprNummer=(substitute,))
        await it.tell(it.m1(renamed, "AENDRET", "CPR_SKIFT"))
        shown = await it.the_case(old)
        assert len(shown["sygedagpengesager"]) == 2
        assert [each["state"] for each in (await it.act("cases"))["cases"]].count("AFSLUTTET") == 1
        (found,) = [
            each for each in (await it.act("cases", cpr=OTHER_CPR.reveal()))["cases"] if each["state"] == "MODTAGET"
        ]
        assert found["jobcentersag_id"] == shown["jobcentersag_id"]
        assert (await it.the_case(other))["jobcentersag_id"] == shown["jobcentersag_id"]


async def test_an_answer_carries_the_number_of_today(play):
    """What is said after CPR_SKIFT to what came before it has the citizen's new number, in M2 and M4 alike."""
    async with play(policy=Policy(events=Mode.MANUAL, extensions=Mode.MANUAL)) as it:
        event = it.m1(case := sag())
        await it.tell(event)
        request = it.m3(case)
        await it.tell(request)
        await it.tell(it.m1(later(case, CprNummer=OTHER_CPR, TidligereCprNummer=(CPR,)), "AENDRET", "CPR_SKIFT"))
        await it.act("answer_event", besked_id=str(event.Hoved.BeskedID), code="ACCEPTERET")
        await it.act("answer_extension", anmodning_id=str(request.AnmodningID), code="AFVIST")
        await it.quiet()
        assert [each.Hoved.CprNummer for each in it.gateway.m2] == [CPR, OTHER_CPR, OTHER_CPR]
        assert [each.Hoved.CprNummer for each in it.gateway.m4] == [CPR, OTHER_CPR]


async def test_a_new_jobcentre_learns_the_kategori_from_the_snapshot(play):
    """What another jobcentre has decided comes with the case."""
    async with play() as it:
        await it.tell(it.m1(case := sag(Visitationskategori="1")))
        assert (await it.the_case(case))["kategori"] == "1"
        await it.tell(it.m1(other := sag(CprNummer=OTHER_CPR)))
        await it.tell(it.m1(later(other, Visitationskategori="2"), "AENDRET", "VISITATION_MODTAGET"))
        assert (await it.the_case(other))["kategori"] == "2"


async def test_a_case_that_the_jobcentre_closed_stays_closed(play):
    """A change that is no reopening does not open what a caseworker has closed."""
    async with play() as it:
        await it.tell(it.m1(case := sag()))
        await it.act("update", sags_id=str(case.SagsID), Opdateringstype=["SAG_LUKKET"])
        await it.tell(it.m1(later(case), "AENDRET"))
        assert (await it.the_case(case))["state"] == "AFSLUTTET"


async def test_a_slow_jobcentre(play):
    """MODTAGET at once, ACCEPTERET when two days have passed; `due` says when."""
    async with play(policy=Policy(events=Mode.SLOW)) as it:
        await it.tell(it.m1(case := sag()))
        await it.tell(it.m1(later(case, SagsVersion=3), "AENDRET"))
        await it.quiet()
        assert said(it.gateway.m2) == ["MODTAGET"] * 2
        assert (await it.act("due"))["next"] == (it.clock.now() + timedelta(days=2)).isoformat()
        assert (await it.act("inbox"))["events"] == []
        await it.pass_time(days=2)
        await it.until(lambda: len(it.gateway.m2) == 4)
        assert said(it.gateway.m2)[2:] == ["ACCEPTERET"] * 2
        assert (await it.act("due"))["next"] is None


async def test_a_slow_jobcentre_and_an_early_change(play):
    """The answer to an early change is put off from the moment its case is known."""
    async with play(policy=Policy(events=Mode.SLOW)) as it:
        first = sag()
        await it.tell(it.m1(later(first), "AENDRET"))
        await it.pass_time(hours=1)
        await it.tell(it.m1(first))
        await it.pass_time(days=2)
        await it.until(lambda: "ACCEPTERET" in said(it.gateway.m2))


async def test_a_silent_jobcentre_applies_and_says_nothing(play):
    """Not even B104; what was put off before the silence began is not said either."""
    async with play(policy=Policy(events=Mode.SILENT)) as it:
        await it.tell(it.m1(case := sag()))
        await it.tell(it.m1(later(sag(CprNummer=OTHER_CPR)), "AENDRET"))
        await it.pass_time(hours=24)
        await it.until(lambda: len(it.gateway.came["HentSag"]) == 1)
        await it.quiet()
        assert it.gateway.m2 == []
        assert (await it.the_case(case))["state"] == "MODTAGET"
        assert len((await it.act("inbox"))["events"]) == 2
        await it.act("policy", events="slow")
        await it.tell(it.m1(later(case), "AENDRET"))
        await it.act("policy", events="silent")
        await it.pass_time(days=2)
        assert said(it.gateway.m2) == ["MODTAGET"]


async def test_a_wrong_jobcentre_answers_for_a_version_that_never_was(play):
    """KSD can only refuse it (T205)."""
    async with play(policy=Policy(events=Mode.WRONG)) as it:
        await it.tell(it.m1(sag()))
        await it.until(lambda: len(it.gateway.m2) == 2)
        assert [m.SagsVersion for m in it.gateway.m2] == [1, 2]


async def test_by_hand(play):
    """AFLEVERET, then what a person says: also a second final answer, which is KSD's to refuse."""
    async with play(policy=Policy(events=Mode.MANUAL)) as it:
        event = it.m1(case := sag())
        await it.tell(event)
        await it.until(lambda: said(it.gateway.m2) == ["AFLEVERET"])
        (waiting,) = (await it.act("inbox"))["events"]
        assert (waiting["besked_id"], waiting["answer"]) == (str(event.Hoved.BeskedID), "AFLEVERET")
        assert waiting["cpr"] == "**********"
        answered = await it.act("answer_event", besked_id=waiting["besked_id"], code="ACCEPTERET")
        await it.until(lambda: len(it.gateway.m2) == 2)
        assert str(it.gateway.m2[1].Hoved.BeskedID) == answered["besked_id"]
        assert (await it.act("inbox"))["events"] == []
        await it.act("answer_event", besked_id=waiting["besked_id"], code="AFVIST", fejl="B102", begrundelse="forkert")
        await it.act("answer_event", besked_id=waiting["besked_id"], code="MODTAGET")
        await it.until(lambda: len(it.gateway.m2) == 4)
        assert it.gateway.m2[2].Forretningskvittering.Begrundelse == "forkert"
        received = (await it.act("messages"))["received"]
        assert [each["answer"] for each in received] == ["AFVIST"]
        early = it.m1(later(sag(CprNummer=OTHER_CPR)), "AENDRET")
        await it.tell(early)
        await it.tell(it.m1(replace(early.Sygefravaerssag, SagsVersion=1)))
        assert len((await it.act("inbox"))["events"]) == 1
        assert (await it.the_case(case))["sygedagpengesager"][0]["opened"] is True


async def test_rules_beyond_the_schema_are_judged_at_the_door(play):
    """A real number in a test environment is G007, and leaves nothing behind."""
    async with play() as it:
        receipt = await it.tell(it.m1(sag(CprNummer=Cpr.parse("0101701234"))))
        assert codes(receipt.TransportKvittering.FejlListe) == ["G007"]
        assert (await it.act("messages"))["received"] == []


async def test_only_the_gateway_gets_in(play):
    """Another certificate of the same authority is turned away at HTTP."""
    async with play() as it:
        stranger = it.pki.issue("stranger", AARHUS)
        async with Client(
            it.url,
            service=Service.SYGEFRAVAER_JC,
            tls=client_tls(stranger.certificate, stranger.key, it.pki.ca),
            callback=True,
        ) as client:
            with pytest.raises(HttpFailure) as caught:
                await client.call(it.m1(sag()))
        assert caught.value.status == 403


async def test_a_database_that_is_away_is_no_receipt(play):
    """Nothing is acknowledged that was not stored: a Server fault, so that the gateway tries again."""
    async with play() as it:
        await it.jobcenter.stop()
        await it.store.close()
        with pytest.raises(FaultReceived) as caught:
            await it.tell(it.m1(sag()))
        assert caught.value.faultcode == "Server"


async def test_a_restart_forgets_nothing(play):
    """Answers that were put off, the policy and the outbox are in the database."""
    async with play() as it:
        await it.act("policy", events="slow", event_delay=3600)
        await it.tell(it.m1(sag()))
        await it.quiet()
        await it.jobcenter.stop()
        it.jobcenter = it.build()
        await it.jobcenter.start()
        assert (await it.act("policy"))["event_delay"] == 3600
        await it.pass_time(hours=1)
        await it.until(lambda: said(it.gateway.m2) == ["MODTAGET", "ACCEPTERET"])


def test_municipalities_must_be_municipalities(clock, vault):
    """A wrong or empty list is refused before anything starts."""
    for municipalities in ((), ("12345678",)):
        with pytest.raises(UsageError, match="98"):
            Jobcenter(
                store=None,
                vault=vault,
                clock=clock,
                client=None,
                system_id=uuid4(),
                municipalities=municipalities,
                environment=None,
            )
