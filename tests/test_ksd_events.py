# SPDX-License-Identifier: MPL-2.0
"""What KSD tells when a case changes (SF2090): each change a version, each version a message, over real sockets."""

from datetime import date
from uuid import UUID, uuid4

import pytest

from ksd_rig import AARHUS, CPR, OTHER_CPR, REVIEW, THIRD_CPR, VIBORG, fejl, said, scene
from sygefravaer.contract.messages import kvittering_advarsel, kvittering_fejl
from sygefravaer.errors import ActRefused, Refused, SygefravaerError


@pytest.fixture
async def ksd(make_store, vault, clock, pki):
    async with scene(make_store=make_store, vault=vault, clock=clock, pki=pki) as found:
        yield found


async def test_a_new_case_is_told_to_its_municipality(ksd):
    """Opening a case tells OPRETTET, version 1, with the complete picture and a header for the municipality."""
    case = await ksd.opened(Arbejdsgiver={"CVRNummer": VIBORG, "Navn": "Skov & Søn"})

    (event,) = ksd.gateway.m1
    assert said(event) == ("OPRETTET", 1, "ANMELDT", ())
    assert event.ForrigeSagsVersion is None
    assert event.AuthorityContext.MunicipalityCVR == event.Hoved.ModtagerMyndighedCVR == VIBORG
    assert event.Hoved.NemrefusionsID == case.NemrefusionsID
    assert case.StartSagsart == "11"
    assert case.Arbejdsgiver.Navn == "Skov & Søn"
    assert (await ksd.look(case)).Sygefravaerssag == case


async def test_a_closed_absence_is_opened_and_ended_in_one_run(ksd):
    """A report that already has a last day gives OPRETTET and AFSLUTTET, in that order."""
    await ksd.opened(SidsteFravaersdag="2026-02-20")

    assert [said(each) for each in ksd.gateway.m1] == [
        ("OPRETTET", 1, "ANMELDT", ()),
        ("AFSLUTTET", 2, "AFSLUTTET", ()),
    ]
    closing = ksd.gateway.m1[1]
    assert (closing.HaendelsesDato, closing.ForrigeSagsVersion) == (date(2026, 2, 20), 1)
    assert closing.Sygefravaerssag.Afslutningsaarsag == "RASKMELDT"


async def test_form_category_and_part_time_move_a_case_along(ksd):
    """ANMELDT, OPLYST, LOEBENDE, DELVIST_RASKMELDT, each by the field that says so."""
    sags_id = str((await ksd.opened()).SagsID)
    await ksd.act("change_case", sags_id=sags_id, OplysningsskemaModtaget="2026-02-20")
    await ksd.act("change_case", sags_id=sags_id, Visitationskategori="2")
    period = {"FraDato": "2026-02-23", "FravaerstimerPrUge": "18.50"}
    await ksd.act("change_case", sags_id=sags_id, DelvisPeriode=[period], on="2026-02-23")
    await ksd.quiet()

    assert [said(each)[2:] for each in ksd.gateway.m1[1:]] == [
        ("OPLYST", ("BEREGNING_AENDRET",)),
        ("LOEBENDE", ("VISITATION_MODTAGET",)),
        ("DELVIST_RASKMELDT", ("DELVIS_RASKMELDING",)),
    ]
    assert ksd.gateway.m1[-1].HaendelsesDato == date(2026, 2, 23)
    assert [each.ForrigeSagsVersion for each in ksd.gateway.m1] == [None, 1, 2, 3]


async def test_payment_is_stopped_and_resumed(ksd):
    """STANDSET by s. 21 and back; each told with its own reason."""
    _, case = await ksd.seeded(state="LOEBENDE")
    await ksd.act("change_case", sags_id=case["sags_id"], move="STOP")
    await ksd.act("change_case", sags_id=case["sags_id"], move="RESUME")
    await ksd.quiet()

    assert [said(each)[2:] for each in ksd.gateway.m1[1:]] == [
        ("STANDSET", ("STANDSET_P21",)),
        ("LOEBENDE", ("GENOPTAGET",)),
    ]


async def test_given_reasons_are_told(ksd):
    """Whoever changes a case may say the Aendringsaarsag himself."""
    case = await ksd.opened()
    await ksd.act("change_case", sags_id=str(case.SagsID), reasons=["SAGSART_SKIFT"], Sagsart="17", AkasseKode="01")
    await ksd.quiet()

    event = ksd.gateway.m1[-1]
    assert event.Aendringsaarsag == ("SAGSART_SKIFT",)
    assert (event.Sygefravaerssag.Sagsart, event.Sygefravaerssag.StartSagsart) == ("17", "11")


async def test_a_report_is_attached_and_finds_the_case(ksd):
    """A later report becomes TilknyttetNemrefusionsID; one that belongs to another case is refused."""
    case, report = await ksd.opened(), uuid4()
    await ksd.act("attach_report", sags_id=str(case.SagsID), report=str(report))
    await ksd.quiet()

    event = ksd.gateway.m1[-1]
    assert event.Aendringsaarsag == ("NEMREFUSION_TILKNYTTET",)
    assert event.Sygefravaerssag.TilknyttetNemrefusionsID == (report,)
    assert event.Hoved.NemrefusionsID == case.NemrefusionsID
    assert (await ksd.look(nemref=report)).Sygefravaerssag.SagsID == case.SagsID
    other = await ksd.opened(cpr=OTHER_CPR)
    with pytest.raises(ActRefused) as refusal:
        await ksd.act("attach_report", sags_id=str(other.SagsID), report=str(report))
    assert refusal.value.code == "Taken"


async def test_a_moved_case_ends_for_one_and_begins_for_the_other(ksd):
    """A move on a Wednesday takes effect on Sunday: AFSLUTTET FLYTNING to the old, OPRETTET of the same to the new."""
    _, case = await ksd.seeded(state="LOEBENDE", Sagsart="17")
    await ksd.act("move_case", sags_id=case["sags_id"], municipality_cvr=AARHUS, on="2026-03-04")
    await ksd.quiet()

    # Each has a lane of its own, and across lanes no order is promised.
    farewell, welcome = sorted(ksd.gateway.m1[1:], key=lambda told: told.Sygefravaerssag.SagsVersion)
    assert said(farewell) == ("AFSLUTTET", 2, "OVERFLYTTET", ("KOMMUNE_SKIFT",))
    assert (farewell.HaendelsesDato, farewell.Sygefravaerssag.Afslutningsaarsag) == (date(2026, 3, 8), "FLYTNING")
    assert (farewell.Hoved.Kommunekode, farewell.Sygefravaerssag.Kommunekode) == ("0791", "0751")
    assert said(welcome) == ("OPRETTET", 3, "LOEBENDE", ("KOMMUNE_SKIFT",))
    assert (welcome.HaendelsesDato, welcome.Hoved.ModtagerMyndighedCVR) == (date(2026, 3, 9), AARHUS)
    assert welcome.Sygefravaerssag.Afslutningsaarsag is None
    assert welcome.Sygefravaerssag.StartSagsart == "17"
    with pytest.raises(SygefravaerError, match="another municipality"):
        await ksd.act("move_case", sags_id=case["sags_id"], kommunekode="0751")


async def test_an_open_request_goes_along_with_a_move(ksd):
    """The request at the old municipality is withdrawn, and put anew to the new one."""
    asked = await ksd.asked()
    await ksd.act("move_case", sags_id=str(asked.Sygefravaerssag.SagsID), kommunekode="0751")
    await ksd.quiet()

    old, new = sorted(ksd.gateway.m3, key=lambda asked: asked.Hoved.ModtagerMyndighedCVR != VIBORG)
    assert (old.Hoved.ModtagerMyndighedCVR, new.Hoved.ModtagerMyndighedCVR) == (VIBORG, AARHUS)
    assert new.AnmodningID != old.AnmodningID
    assert new.RevurderingsDato == old.RevurderingsDato
    requests = (await ksd.case(asked.Sygefravaerssag.SagsID))["requests"]
    assert [(each["status"], each["withdrawal"]) for each in requests] == [("withdrawn", "moved"), ("open", None)]


async def test_a_new_number_is_told_in_every_open_case(ksd):
    """CPR_SKIFT with the new number and the former one; look-ups on either give the same, ended cases included."""
    first, ended = await ksd.opened(), await ksd.opened()
    other = await ksd.opened(cpr=OTHER_CPR)
    await ksd.act("end_case", sags_id=str(ended.SagsID))
    told = await ksd.act("change_cpr", cpr=CPR, new_cpr=OTHER_CPR)
    await ksd.quiet()

    assert {each["sags_id"] for each in told["cases"]} == {str(first.SagsID), str(other.SagsID)}
    changed = [each for each in ksd.gateway.m1 if each.Aendringsaarsag == ("CPR_SKIFT",)]
    assert len(changed) == 2
    for event in changed:
        assert event.Hoved.CprNummer.reveal() == OTHER_CPR
        assert [each.reveal() for each in event.Sygefravaerssag.TidligereCprNummer] == [CPR]
    lists = [await ksd.listed(cpr=number) for number in (CPR, OTHER_CPR)]
    assert lists[0] == lists[1]
    assert lists[0].AntalIAlt == 3
    assert await ksd.send(ksd.m5(first, cpr=CPR)) == ("OK", [])
    assert await ksd.send(ksd.m5(first, cpr=THIRD_CPR)) == ("FEJL", ["O403"])
    again = await ksd.opened(cpr=CPR)
    assert again.CprNummer.reveal() == OTHER_CPR


async def test_a_case_ends_and_is_taken_up_again(ksd):
    """GENOPTAGET gives a higher version in the state before the end, with the end taken back."""
    granted = {
        "Forlaengelseskode": "P27_1_2",
        "FraDato": "2026-01-01",
        "TilDato": "2026-06-30",
        "AfgoerelsesDato": "2025-12-20",
    }
    _, case = await ksd.seeded(state="FORLAENGET", Forlaengelse=[granted])
    await ksd.act("end_case", sags_id=case["sags_id"], on="2026-02-15", last_day="2026-02-15")
    await ksd.act("reopen_case", sags_id=case["sags_id"])
    await ksd.quiet()

    closing, opening = ksd.gateway.m1[1:]
    assert said(closing) == ("AFSLUTTET", 2, "AFSLUTTET", ("BEREGNING_AENDRET",))  # two weeks have been overpaid
    assert closing.HaendelsesDato == closing.Sygefravaerssag.SidsteFravaersdag == date(2026, 2, 15)
    assert said(opening) == ("AENDRET", 3, "FORLAENGET", ("GENOPTAGET", "BEREGNING_AENDRET"))
    assert opening.HaendelsesDato == date(2026, 2, 15)  # the end never was
    assert opening.Sygefravaerssag.SidsteFravaersdag is opening.Sygefravaerssag.AfslutningsDato is None
    assert opening.Sygefravaerssag.Forlaengelse[0].Forlaengelseskode == "P27_1_2"


async def test_a_report_that_was_an_error_is_annulled(ksd):
    """ANNULLERET is told as AFSLUTTET, and nothing happens to the case any more."""
    case = await ksd.opened()
    await ksd.act("end_case", nemrefusions_id=str(case.NemrefusionsID), cause="ANNULLERET")
    await ksd.quiet()

    assert said(ksd.gateway.m1[-1]) == ("AFSLUTTET", 2, "ANNULLERET", ())
    with pytest.raises(SygefravaerError, match="REOPEN"):
        await ksd.act("reopen_case", sags_id=str(case.SagsID))


@pytest.mark.parametrize(
    ("act", "fields", "code"),
    [
        ("end_case", {"cause": "FLYTNING"}, "Impossible"),
        ("end_case", {"on": "2025-12-31"}, "Impossible"),
        ("end_case", {"cause": "INGEN"}, "FieldWrong"),
        ("reopen_case", {}, "IllegalMove"),
        ("change_case", {}, "Impossible"),
        ("change_case", {"move": "RESUME"}, "IllegalMove"),
        ("change_case", {"move": "JUMP"}, "FieldWrong"),
        ("change_case", {"Kommunekode": "0751"}, "Impossible"),
        ("change_case", {"Sagsart": "10"}, "FieldWrong"),
        ("change_case", {"reasons": ["INGEN"], "AkasseKode": "01"}, "SchemaValidationFailed"),
        ("move_case", {"municipality_cvr": "11111111"}, "FieldWrong"),
        ("move_case", {"kommunekode": "0791"}, "Impossible"),
        ("ask_extension", {"kind": "INGEN"}, "FieldWrong"),
        ("ask_extension", {}, "IllegalMove"),
        ("ask_extension", {"review": "2014-01-31"}, "Impossible"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(ksd, act, fields, code):
    """A clear error at the door, no version, no message."""
    case = await ksd.opened()
    with pytest.raises(SygefravaerError) as refusal:
        await ksd.act(act, sags_id=str(case.SagsID), **fields)

    assert refusal.value.code == code
    assert (await ksd.case(case.SagsID))["version"] == 1
    assert len(ksd.gateway.m1) == 1


async def test_an_ended_case_is_not_changed(ksd):
    """It must be taken up again first: the jobcentre would refuse the change (B105)."""
    case = await ksd.opened()
    await ksd.act("end_case", sags_id=str(case.SagsID))
    for act, fields in (("change_case", {"AkasseKode": "01"}), ("change_case", {"DelvisPeriode": []})):
        with pytest.raises(SygefravaerError, match="has ended"):
            await ksd.act(act, sags_id=str(case.SagsID), **fields)
    assert (await ksd.case(case.SagsID))["version"] == 2


async def test_an_ended_case_does_not_move(ksd):
    """Nobody has it to hand over any more."""
    case = await ksd.opened()
    await ksd.act("end_case", sags_id=str(case.SagsID))
    with pytest.raises(SygefravaerError, match="has ended"):
        await ksd.act("move_case", sags_id=str(case.SagsID), kommunekode="0751")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"cpr": "1234567890"}, "G007"),
        ({"cpr": "0101605006"}, "G007"),
        ({"municipality_cvr": "11111111"}, "FieldWrong"),
        ({"FoersteFravaersdag": None}, "FieldWrong"),
        ({"SagsTilstand": "LOEBENDE"}, "FieldWrong"),
        ({"Sagsart": "49"}, "Impossible"),
        ({"Arbejdsgiver": {"CVRNummer": "12345678"}}, "G008"),
        ({"surprise": 1}, "FieldUnknown"),
    ],
)
async def test_a_case_that_cannot_be_opened_leaves_nothing(ksd, fields, code):
    """Wrong numbers, municipalities, codes and fields are refused with their names, and nothing is stored."""
    with pytest.raises((ActRefused, Refused, SygefravaerError)) as refusal:
        await ksd.opened(**fields)

    assert refusal.value.code == code
    assert "1234567890" not in str(refusal.value)
    assert (await ksd.act("cases"))["cases"] == []


async def test_ids_are_taken_once(ksd):
    """A SagsID or NemrefusionsID that another case has is refused."""
    case = await ksd.opened()
    with pytest.raises(ActRefused) as refusal:
        await ksd.opened(nemrefusions_id=str(case.NemrefusionsID))
    assert refusal.value.code == "Taken"


async def test_an_extension_is_asked_for(ksd):
    """M3 carries the new version in REVURDERING, the possible codes, the weeks and a deadline."""
    asked = await ksd.asked(ForbrugteUger="17.5")

    assert said(ksd.gateway.m1[0])[:3] == ("OPRETTET", 1, "LOEBENDE")
    assert (asked.Rykkernummer, asked.Anmodningstype) == (0, "FOERSTE_REVURDERING")
    assert (asked.RevurderingsDato, asked.Svarfrist) == (REVIEW, date(2026, 4, 16))
    assert asked.MuligeForlaengelseskoder == tuple(f"P27_1_{number}" for number in range(1, 8))
    assert str(asked.ForbrugteUger) == "17.5"
    assert (asked.Sygefravaerssag.SagsVersion, asked.Sygefravaerssag.SagsTilstand) == (2, "REVURDERING")
    history = (await ksd.look(asked.Sygefravaerssag, InkluderHistorik=True)).Haendelse
    assert [(each.SagsVersion, each.Haendelsestype) for each in history] == [(2, "AENDRET"), (1, "OPRETTET")]
    assert history[0].BeskedID == asked.Hoved.BeskedID


async def test_what_is_asked_can_be_said(ksd):
    """Kind, day, deadline and weeks of a request are the asker's if he gives them; the s. 25 group has s. 29."""
    _, case = await ksd.seeded(state="LOEBENDE")
    given = {"kind": "PENSIONIST_PARAGRAF25", "review": "2026-05-31", "deadline": "2026-05-01", "weeks": "26.0"}
    await ksd.act("ask_extension", sags_id=case["sags_id"], **given)
    await ksd.quiet()

    (asked,) = ksd.gateway.m3
    assert (asked.Anmodningstype, asked.MuligeForlaengelseskoder) == ("PENSIONIST_PARAGRAF25", ("P29",))
    assert (asked.RevurderingsDato, asked.Svarfrist) == (date(2026, 5, 31), date(2026, 5, 1))
    assert str(asked.ForbrugteUger) == "26.0"


async def test_an_extension_without_an_end_is_not_asked_about(ksd):
    """Some write the last day of the calendar for it: there is no day after it, for us or for the jobcentre."""
    asked = await ksd.asked()
    assert await ksd.send(ksd.m4(asked, kode="P27_1_5", til=date(9999, 12, 31))) == ("OK", [])
    with pytest.raises(SygefravaerError, match="no end") as refusal:
        await ksd.act("ask_extension", sags_id=str(asked.Sygefravaerssag.SagsID))
    assert refusal.value.code == "Impossible"


async def test_a_pensioners_renewal_is_asked_about_as_a_pensioners(ksd):
    """What was granted by s. 29 is renewed by s. 29; no weeks used is a number too."""
    asked = await ksd.asked(kind="PENSIONIST_PARAGRAF25")
    assert await ksd.send(ksd.m4(asked, kode="P29")) == ("OK", [])
    await ksd.act("ask_extension", sags_id=str(asked.Sygefravaerssag.SagsID), weeks="0")
    await ksd.quiet()
    again = ksd.gateway.m3[-1]
    assert (again.Anmodningstype, again.MuligeForlaengelseskoder) == ("PENSIONIST_PARAGRAF25", ("P29",))
    assert again.ForbrugteUger == 0


async def test_a_case_without_a_day_to_ask_about_is_not_asked_about(ksd):
    """RevurderingsDato is wanted, from the case or the asker; absence that does not count has none."""
    _, case = await ksd.seeded(state="LOEBENDE", RevurderingsDato=None, Fravaerstype="GRAVIDITETSBETINGET")
    with pytest.raises(SygefravaerError, match="RevurderingsDato"):
        await ksd.act("ask_extension", sags_id=case["sags_id"])


async def test_a_reminder_is_the_same_question_in_a_new_message(ksd):
    """Rykkernummer goes up, AnmodningID, KorrelationsID and Svarfrist stay, BeskedID is new; a closed one has none."""
    asked = await ksd.asked()
    told = await ksd.act("remind", anmodning_id=str(asked.AnmodningID))
    await ksd.quiet()

    again = ksd.gateway.m3[-1]
    assert (told["rykkernummer"], again.Rykkernummer) == (1, 1)
    assert again.AnmodningID == asked.AnmodningID
    assert again.Hoved.KorrelationsID == asked.Hoved.KorrelationsID
    assert again.Hoved.BeskedID != asked.Hoved.BeskedID
    assert again.Svarfrist == asked.Svarfrist
    await ksd.act("end_case", sags_id=str(asked.Sygefravaerssag.SagsID))
    with pytest.raises(SygefravaerError, match="not open"):
        await ksd.act("remind", anmodning_id=str(asked.AnmodningID))
    with pytest.raises(ActRefused, match="no such request"):
        await ksd.act("remind", anmodning_id=str(uuid4()))


async def test_a_citizens_requests_of_one_day_are_one_conversation(ksd):
    """Two cases with the same RevurderingsDato share a KorrelationsID; another day has its own."""
    first, second = await ksd.asked(), await ksd.asked()
    third = await ksd.asked(RevurderingsDato="2026-05-31")

    assert first.Hoved.KorrelationsID == second.Hoved.KorrelationsID
    assert third.Hoved.KorrelationsID != first.Hoved.KorrelationsID


async def test_a_version_can_be_told_again(ksd):
    """Resending makes a new message of the present version, as its own event or another."""
    case = await ksd.opened()
    told = await ksd.act("resend", sags_id=str(case.SagsID))
    await ksd.act("resend", sags_id=str(case.SagsID), event="AENDRET")
    await ksd.quiet()

    _, again, other = ksd.gateway.m1
    assert again.Hoved.BeskedID == UUID(told["besked_id"])
    assert said(again) == ("OPRETTET", 1, "ANMELDT", ())
    assert said(other) == ("AENDRET", 1, "ANMELDT", ("BEREGNING_AENDRET",))


# --- what becomes of a message ---


async def test_a_refused_message_is_a_task_and_stops_nothing(ksd):
    """FEJL is final: a person gets it, and the next message of the case goes out."""
    ksd.gateway.answers["SendHaendelseSygefravaerssag"] = [kvittering_fejl("G005")]
    case = await ksd.opened()
    await ksd.act("change_case", sags_id=str(case.SagsID), AkasseKode="01")
    await ksd.quiet()

    assert await ksd.tasks() == [("message_refused", ["G005"], "LOOK")]
    statuses = [each["status"] for each in (await ksd.act("messages"))["messages"]]
    assert statuses == ["delivered", "refused"]
    (task,) = (await ksd.act("tasks", sags_id=str(case.SagsID)))["tasks"]
    await ksd.act("task_done", task_id=task["task_id"])
    assert await ksd.tasks() == []
    assert len((await ksd.act("tasks", closed=True))["tasks"]) == 1
    with pytest.raises(ActRefused):
        await ksd.act("task_done", task_id=task["task_id"])


async def test_a_message_under_way_is_asked_for_until_it_ends(ksd):
    """G006 settles the place in the lane; the same bytes go again after 1, then 5 minutes, until the end is known."""
    under_way = kvittering_advarsel("G006")
    ksd.gateway.answers["SendHaendelseSygefravaerssag"] = [under_way, under_way]
    case = await ksd.opened()
    assert (await ksd.act("due"))["next"] == "2026-03-02T09:01:00+00:00"
    await ksd.pass_time(minutes=1)
    await ksd.pass_time(minutes=5)

    assert len({each.Hoved.BeskedID for each in ksd.gateway.m1}) == 1
    assert len(ksd.gateway.m1) == 3
    (message,) = (await ksd.act("messages", sags_id=str(case.SagsID)))["messages"]
    assert message["status"] == "delivered"
    assert (await ksd.act("due"))["next"] is None


async def test_a_message_that_was_too_old_is_made_once_more(ksd):
    """After G010 the same content goes with a new BeskedID, which history then names; a second G010 is a task."""
    too_old = kvittering_fejl("G010")
    ksd.gateway.answers["SendHaendelseSygefravaerssag"] = [too_old]
    case = await ksd.opened()

    first, second = ksd.gateway.m1
    assert second.Sygefravaerssag == first.Sygefravaerssag
    assert second.Hoved.BeskedID != first.Hoved.BeskedID
    assert (await ksd.look(case, InkluderHistorik=True)).Haendelse[0].BeskedID == second.Hoved.BeskedID
    assert await ksd.tasks() == []

    ksd.gateway.answers["SendAnmodningForlaengelse"] = [too_old, too_old]
    asked = await ksd.asked(cpr=OTHER_CPR)
    assert asked.AnmodningID == ksd.gateway.m3[0].AnmodningID
    assert await ksd.tasks() == [("message_refused", ["G010"], "LOOK")]


async def test_silence_keeps_the_order_and_after_five_days_a_person_is_asked(ksd):
    """Nothing passes a message that nobody answers; in the end it is parked, and goes when a person says so."""
    ksd.gateway.answers["SendHaendelseSygefravaerssag"] = [RuntimeError("broken")] * 2
    made = await ksd.act("create_case", cpr=CPR, municipality_cvr=VIBORG, FoersteFravaersdag="2026-01-12")
    await ksd.until(lambda: len(ksd.gateway.m1) == 1)
    await ksd.act("change_case", sags_id=made["sags_id"], AkasseKode="01")
    await ksd.pass_time(days=6)

    assert len({each.Hoved.BeskedID for each in ksd.gateway.m1}) == 1
    assert await ksd.tasks() == [("message_parked", [], "LOOK")]
    replayed = await ksd.act("replay")
    await ksd.quiet()
    assert replayed["replayed"] == [str(ksd.gateway.m1[0].Hoved.BeskedID)]
    assert [each.Sygefravaerssag.SagsVersion for each in ksd.gateway.m1] == [1, 1, 1, 2]


async def test_what_was_queued_leaves_after_a_restart(ksd):
    """A change that was committed is told, also when the sending process has ended meanwhile; stopping twice is fine."""
    await ksd.ksd.stop()
    await ksd.ksd.stop()
    await ksd.act("create_case", cpr=CPR, municipality_cvr=VIBORG, FoersteFravaersdag="2026-01-12")
    assert ksd.gateway.m1 == []
    ksd.ksd = ksd.build()
    await ksd.ksd.start()
    await ksd.quiet()

    assert len(ksd.gateway.m1) == 1


async def test_a_gateway_that_hangs_is_left_at_a_stop(ksd, monkeypatch):
    """A post that does not end in its grace is cut off; the lease lets it go again."""
    import asyncio

    from sygefravaer.ksd import system

    monkeypatch.setattr(system, "GRACE", 0.05)
    blocked = asyncio.Event()

    async def hang(call):
        blocked.set()
        await asyncio.sleep(3)

    ksd.receiver._handlers["SendHaendelseSygefravaerssag"] = hang
    await ksd.act("create_case", cpr=CPR, municipality_cvr=VIBORG, FoersteFravaersdag="2026-01-12")
    await blocked.wait()
    await ksd.ksd.stop()

    async with ksd.store.read() as tx:
        row = await tx.one("SELECT status FROM message")
    assert row["status"] == "sending"


# --- seeds ---


async def test_a_seed_opens_cases_in_their_states_once(ksd):
    """Each case is told in its state; REVURDERING has asked, AFSLUTTET has been open; again changes nothing."""
    states = ("ANMELDT", "LOEBENDE", "REVURDERING", "AFSLUTTET", "ANNULLERET")
    cases = [
        {
            "cpr": CPR,
            "municipality_cvr": VIBORG,
            "sags_id": str(UUID(int=index)),
            "nemrefusions_id": str(UUID(int=100 + index)),
            "state": state,
            "FoersteFravaersdag": "2026-01-12",
            "RevurderingsDato": "2026-06-30",
            **({"SidsteFravaersdag": "2026-02-20"} if state == "AFSLUTTET" else {}),
        }
        for index, state in enumerate(states)
    ]
    first, second = await ksd.act("seed", cases=cases), await ksd.act("seed", cases=cases)
    await ksd.quiet()

    assert (first, second) == ({"opened": 5, "known": 0}, {"opened": 0, "known": 5})
    found = (await ksd.act("cases"))["cases"]
    assert [each["state"] for each in found] == list(states)
    assert len(ksd.gateway.m3) == 1
    ended = await ksd.case(UUID(int=3))
    assert ended["picture"]["SidsteFravaersdag"] == ended["picture"]["AfslutningsDato"] == "2026-02-20"
    assert [each["event"] for each in ended["versions"]] == ["OPRETTET", "AFSLUTTET"]


async def test_a_quiet_seed_sends_nothing(ksd):
    """For volume: the cases are there, nobody is told."""
    case = {"cpr": CPR, "municipality_cvr": VIBORG, "state": "REVURDERING", "FoersteFravaersdag": "2026-01-12"}
    ended = case | {"state": "AFSLUTTET", "on": "2026-02-20", "cause": "DOED"}
    await ksd.act("seed", cases=[case, ended], tell=False)
    await ksd.quiet()

    assert ksd.gateway.m1 == ksd.gateway.m3 == []
    assert (await ksd.listed()).AntalIAlt == 2


async def test_an_employment_follows_from_the_sagsart(ksd):
    """A seafarer's group is no Beskaeftigelsesstatus; he is an employee."""
    assert (await ksd.opened(Sagsart="91")).Beskaeftigelsesstatus == "LOENMODTAGER"
    assert (await ksd.opened(Sagsart="17")).Beskaeftigelsesstatus == "LEDIG"


async def test_an_unknown_case_is_said_to_be_so(ksd):
    """No act does something to a case that is not there."""
    for fields in ({"sags_id": str(uuid4())}, {"nemrefusions_id": str(uuid4())}):
        for act in ("case", "end_case", "resend"):
            with pytest.raises(ActRefused, match="no such case"):
                await ksd.act(act, **fields)
    with pytest.raises(ActRefused, match="missing"):
        await ksd.act("case")
    assert fejl(await ksd.look(SagsID=uuid4())) == ["H501"]


async def test_changes_at_once_follow_one_another(ksd):
    """Ten changes of one case at the same time, while it is being told: ten versions, told in their order."""
    import asyncio

    case = await ksd.opened()
    sags_id = str(case.SagsID)
    ksd.gateway.answers["SendHaendelseSygefravaerssag"] = [kvittering_fejl("G005")] * 5
    await asyncio.gather(*(ksd.act("change_case", sags_id=sags_id, AkasseKode=str(number)) for number in range(10)))
    await ksd.quiet()

    assert [each.Sygefravaerssag.SagsVersion for each in ksd.gateway.m1] == list(range(1, 12))
    assert [each.ForrigeSagsVersion for each in ksd.gateway.m1[1:]] == list(range(1, 11))
    assert len(await ksd.tasks()) == 5
