# SPDX-License-Identifier: MPL-2.0
"""What KSD does by itself: when it asks, reminds, decides, pays and counts anew; and that silence ends nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from ksd_rig import AARHUS, CPR, OTHER_CPR, VIBORG, said, scene
from sygefravaer.errors import ActRefused
from sygefravaer.ksd import Policy


@pytest.fixture
async def ksd(make_store, vault, clock, pki):
    async with scene(make_store=make_store, vault=vault, clock=clock, pki=pki, policy=Policy()) as found:
        yield found


async def running(ksd, **given):
    """Seed a running case whose RevurderingsDato is counted; give its SagsID."""
    _, case = await ksd.seeded(**({"state": "LOEBENDE", "RevurderingsDato": None} | given))
    return case["sags_id"]


async def to(ksd, *when: int) -> None:
    """Let the time come, from one due instant to the next, all that happens at each done."""
    goal = datetime(*when, tzinfo=UTC)
    while True:
        await ksd.quiet()
        due = (await ksd.act("due"))["next"]
        if due is None or datetime.fromisoformat(due) > goal:
            break
        ksd.clock.set(datetime.fromisoformat(due))
    ksd.clock.set(goal)
    await ksd.quiet()


async def coming(ksd, sags_id) -> list[tuple[str, str]]:
    return [(each["act"], each["at"]) for each in (await ksd.case(sags_id))["coming"]]


# --- the time limit ---


async def test_the_review_is_counted_and_asked_about_eight_weeks_before(ksd):
    """Absent since 12 January as an employee: 31 July; KSD asks on 5 June at six, and not a minute earlier."""
    sags_id = await running(ksd)

    assert (await ksd.case(sags_id))["picture"]["RevurderingsDato"] == "2026-07-31"
    assert await coming(ksd, sags_id) == [("ASK", "2026-06-05T04:00:00+00:00")]
    await to(ksd, 2026, 6, 5, 3, 59)
    assert ksd.gateway.m3 == []
    await to(ksd, 2026, 6, 5, 4)
    (asked,) = ksd.gateway.m3
    assert (asked.Anmodningstype, asked.RevurderingsDato, asked.Rykkernummer) == (
        "FOERSTE_REVURDERING",
        date(2026, 7, 31),
        0,
    )
    assert asked.Svarfrist == date(2026, 7, 17)
    assert asked.ForbrugteUger == Decimal("16.4")  # 11 February to 5 June: 115 days
    assert (asked.Hoved.Afsendelsestidspunkt, asked.Sygefravaerssag.SagsTilstand) == (
        datetime(2026, 6, 5, 4, tzinfo=UTC),
        "REVURDERING",
    )


async def test_what_is_late_already_is_asked_about_the_same_day(ksd):
    """Weeks used before leave less than eight weeks: the request goes at once, with five working days at least."""
    await running(
        ksd, state="AFSLUTTET", FoersteFravaersdag="2025-08-04", on="2026-01-04", SidsteFravaersdag="2026-01-04"
    )
    sags_id = await running(ksd)

    await ksd.quiet()
    (asked,) = ksd.gateway.m3
    assert (await ksd.case(sags_id))["picture"]["RevurderingsDato"] == "2026-03-31"
    assert asked.Svarfrist == date(2026, 3, 17)


async def test_a_case_that_does_not_run_is_not_asked_about(ksd):
    """ANMELDT waits for its form; when it runs, the question that was due goes at once."""
    sags_id = await running(ksd, state="ANMELDT")
    await to(ksd, 2026, 7, 10, 9)
    assert ksd.gateway.m3 == []

    await ksd.act("change_case", sags_id=sags_id, OplysningsskemaModtaget="2026-07-10")
    await ksd.act("change_case", sags_id=sags_id, Visitationskategori="2")
    await ksd.quiet()
    (asked,) = ksd.gateway.m3
    assert asked.Svarfrist == date(2026, 7, 17)


async def test_pensioners_are_reviewed_after_26_weeks(ksd):
    """s. 25: from a day that is told, another limit, another kind of request, another code."""
    sags_id = await running(ksd, pensioner_since="2026-02-01")

    assert (await ksd.case(sags_id))["picture"]["RevurderingsDato"] == "2026-08-31"
    await to(ksd, 2026, 7, 6, 4)
    (asked,) = ksd.gateway.m3
    assert (asked.Anmodningstype, asked.MuligeForlaengelseskoder) == ("PENSIONIST_PARAGRAF25", ("P29",))


async def test_becoming_a_pensioner_counts_anew(ksd):
    """Told later, the review moves at once; told of a time after the review, it stays."""
    sags_id = await running(ksd)
    await ksd.act("change_case", sags_id=sags_id, pensioner_since="2027-01-01")
    assert (await ksd.case(sags_id))["version"] == 1
    await ksd.act("change_case", sags_id=sags_id, pensioner_since="2026-05-01")
    await ksd.quiet()

    assert (await ksd.case(sags_id))["picture"]["RevurderingsDato"] == "2026-08-31"
    assert ksd.gateway.m1[-1].Aendringsaarsag == ("REVURDERINGSDATO_AENDRET",)


async def test_another_case_of_the_citizen_counts_and_its_end_too(ksd):
    """A second case opened with an earlier first day moves the review of the first, and both are told it."""
    first = await running(ksd)
    second = await running(ksd, FoersteFravaersdag="2025-12-15")

    await ksd.quiet()
    assert (await ksd.case(first))["picture"]["RevurderingsDato"] == "2026-06-30"
    assert (await ksd.case(second))["picture"]["RevurderingsDato"] == "2026-06-30"
    told = [each for each in ksd.gateway.m1 if str(each.Sygefravaerssag.SagsID) == first][-1]
    assert said(told) == ("AENDRET", 2, "LOEBENDE", ("REVURDERINGSDATO_AENDRET",))
    await ksd.act("end_case", sags_id=second, cause="ANNULLERET")
    await ksd.quiet()
    assert (await ksd.case(first))["picture"]["RevurderingsDato"] == "2026-07-31"
    causes = [each["cause"] for each in (await ksd.case(first))["versions"]]
    assert causes == ["seed", "agenda.RECOUNT", "agenda.RECOUNT"]


async def test_a_day_that_a_person_has_set_is_not_counted(ksd):
    """RevurderingsDato by hand stands until it is given back."""
    sags_id = await running(ksd, RevurderingsDato="2026-09-30")
    await ksd.act("change_case", sags_id=sags_id, FoersteFravaersdag="2026-01-05")
    assert (await ksd.case(sags_id))["picture"]["RevurderingsDato"] == "2026-09-30"

    await ksd.act("change_case", sags_id=sags_id, RevurderingsDato=None)
    assert (await ksd.case(sags_id))["picture"]["RevurderingsDato"] == "2026-07-31"


async def test_a_corrected_first_day_makes_the_question_a_new_one(ksd):
    """The old request is withdrawn, a new AnmodningID asks; an answer to the old is F307, as what it rests on is gone."""
    sags_id = await running(ksd)
    await to(ksd, 2026, 6, 5, 4)
    (old,) = ksd.gateway.m3

    await ksd.act("change_case", sags_id=sags_id, FoersteFravaersdag="2026-01-01", on="2026-01-01")
    await ksd.quiet()
    new = ksd.gateway.m3[-1]

    assert new.AnmodningID != old.AnmodningID
    assert (new.RevurderingsDato, new.Sygefravaerssag.FoersteFravaersdag) == (date(2026, 7, 31), date(2026, 1, 1))
    requests = [(each["status"], each["withdrawal"]) for each in (await ksd.case(sags_id))["requests"]]
    assert requests == [("withdrawn", "superseded"), ("open", None)]
    now = ksd.clock.now()
    assert await ksd.send(ksd.m4(old, VurderingsDato=now.date(), now=now)) == ("FEJL", ["F307"])
    assert (await ksd.send(ksd.m4(new, VurderingsDato=now.date(), now=now, til=date(2026, 12, 31))))[0] == "OK"


async def test_a_life_threatening_illness_has_its_right_where_the_weeks_are_used(ksd):
    """P24A6 when the 22 weeks were used on the first day, from 2018; P24B during jobafklaring; nobody is asked."""
    used = {"FoersteFravaersdag": "2025-07-28", "on": "2026-02-01", "SidsteFravaersdag": "2026-02-01"}
    await running(ksd, state="AFSLUTTET", **used)
    await running(ksd, cpr=OTHER_CPR, state="AFSLUTTET", cause="P24_OPHOER", **used)
    ill = {"LivstruendeSygdom": True, "FoersteFravaersdag": "2026-02-15"}

    async def rights(**given) -> list[str]:
        picture = (await ksd.case(await running(ksd, **given)))["picture"]
        return [each["Forlaengelseskode"] for each in picture.get("Forlaengelse", [])]

    assert await rights(**ill) == ["P24A6"]
    assert await rights(cpr=OTHER_CPR, **ill) == ["P24B"]
    assert await rights(cpr="0301505111", **ill) == []
    assert ksd.gateway.m3 == []
    assert await rights(**ill | {"LivstruendeSygdom": False}) == []
    early = {"FoersteFravaersdag": "2017-01-02", "on": "2017-08-01", "SidsteFravaersdag": "2017-08-01"}
    await running(ksd, cpr="0401505110", state="AFSLUTTET", **early)
    assert await rights(cpr="0401505110", LivstruendeSygdom=True, FoersteFravaersdag="2017-08-04") == []


# --- silence ---


async def test_silence_is_reminded_of_twice_and_ends_nothing(ksd):
    """At the end of Svarfrist's day and a week later; then no more, and payment runs past the review."""
    sags_id = await running(ksd)
    await to(ksd, 2026, 9, 30, 9)

    assert [(each.Rykkernummer, each.Hoved.Afsendelsestidspunkt) for each in ksd.gateway.m3] == [
        (0, datetime(2026, 6, 5, 4, tzinfo=UTC)),
        (1, datetime(2026, 7, 17, 22, tzinfo=UTC)),
        (2, datetime(2026, 7, 24, 22, tzinfo=UTC)),
    ]
    assert len({each.AnmodningID for each in ksd.gateway.m3}) == len({each.Svarfrist for each in ksd.gateway.m3}) == 1
    assert (await ksd.case(sags_id))["state"] == "REVURDERING"
    assert "AFSLUTTET" not in [each.Haendelsestype for each in ksd.gateway.m1]
    assert await coming(ksd, sags_id) == []


async def test_being_assessed_is_no_answer(ksd):
    """MODTAGET is reminded of all the same; the final answer ends the reminding."""
    await running(ksd)
    await to(ksd, 2026, 6, 5, 4)
    (asked,) = ksd.gateway.m3
    await ksd.send(ksd.m4(asked, "MODTAGET"))
    await to(ksd, 2026, 7, 18, 9)
    assert len(ksd.gateway.m3) == 2

    now = ksd.clock.now()
    granting = ksd.m4(asked, now=now, VurderingsDato=now.date(), til=date(2027, 1, 31))
    assert await ksd.send(granting) == ("ADVARSEL", ["F306"])
    await to(ksd, 2026, 9, 30, 9)
    assert len(ksd.gateway.m3) == 2


# --- decisions ---


async def refused(ksd, cause: str, *when: int, **given):
    """Ask, refuse at an instant, and give SagsID and request."""
    sags_id = await running(ksd, **given)
    await to(ksd, 2026, 6, 5, 4)
    asked = ksd.gateway.m3[-1]
    await to(ksd, *when)
    now = ksd.clock.now()
    answer = ksd.m4(asked, "AFVIST", now=now, VurderingsDato=now.date(), Afvisningsaarsag=cause)
    assert (await ksd.send(answer))[0] in {"OK", "ADVARSEL"}
    return sags_id, asked


async def test_a_refusal_in_time_ends_payment_at_the_review(ksd):
    """Decided after a week, but paid to the end of the month that passes the limit."""
    sags_id, _ = await refused(ksd, "INGEN_GRUND_OPFYLDT", 2026, 6, 20, 9)
    await to(ksd, 2026, 7, 31, 3, 59)
    assert (await ksd.case(sags_id))["state"] == "REVURDERING"
    await to(ksd, 2026, 7, 31, 4)

    shown = await ksd.case(sags_id)
    assert (shown["state"], shown["picture"]["Afslutningsaarsag"], shown["picture"]["AfslutningsDato"]) == (
        "AFSLUTTET",
        "P24_OPHOER",
        "2026-07-31",
    )
    assert shown["follow_on"] == "JOBAFKLARING"
    assert shown["picture"]["SidsteBeregningsdag"] == "2026-07-31"
    assert shown["versions"][-1]["rule"] == "75-15: a decision ends payment, and never backwards"
    assert (shown["versions"][-1]["cause"], [each["status"] for each in shown["requests"]]) == (
        "agenda.DECIDE",
        ["decided"],
    )


async def test_a_late_refusal_never_works_backwards(ksd):
    """Three weeks after the review: payment ends with the decision, a week after the answer."""
    sags_id, _ = await refused(ksd, "VARIGHED_OPBRUGT", 2026, 8, 20, 9)
    await to(ksd, 2026, 9, 1, 9)

    shown = await ksd.case(sags_id)
    assert (shown["picture"]["AfslutningsDato"], shown["picture"]["Afslutningsaarsag"]) == (
        "2026-08-27",
        "P27_3_UDLOEBET",
    )
    assert ksd.gateway.m1[-1].HaendelsesDato == date(2026, 8, 27)
    assert ksd.gateway.m1[-1].Hoved.Afsendelsestidspunkt == datetime(2026, 8, 27, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cause", "ending", "day"),
    [
        ("ARBEJDSDYGTIG", "ARBEJDSDYGTIG_P7", "2026-06-27"),
        ("RASKMELDT", "RASKMELDT", "2026-06-27"),
        ("BORGER_DOED", "DOED", "2026-06-27"),
        ("INGEN_GRUND_OPFYLDT", "P24_OPHOER", "2026-07-31"),
    ],
)
async def test_what_a_refusal_leads_to(ksd, cause, ending, day):
    """No time limit, no waiting for it."""
    sags_id, _ = await refused(ksd, cause, 2026, 6, 20, 9)
    await to(ksd, 2026, 8, 30, 9)

    picture = (await ksd.case(sags_id))["picture"]
    assert (picture["Afslutningsaarsag"], picture["AfslutningsDato"]) == (ending, day)


@pytest.mark.parametrize("cause", ["OVERGAAET_ANDEN_YDELSE", "BORGER_FLYTTET"])
async def test_what_a_refusal_leaves_open_a_person_decides(ksd, cause):
    """KSD cannot know which scheme, or where to; the task says so, and an act ends the case."""
    sags_id, _ = await refused(ksd, cause, 2026, 6, 20, 9)
    await to(ksd, 2026, 8, 30, 9)
    assert (await ksd.case(sags_id))["state"] == "REVURDERING"
    assert [(kind, codes) for kind, codes, _ in await ksd.tasks()] == [("extension_refused", [cause])]

    with pytest.raises(ActRefused):
        await ksd.act("decide", sags_id=sags_id, cause="nothing")
    with pytest.raises(Exception, match="Afslutningsaarsag"):
        await ksd.act("decide", sags_id=sags_id)
    await ksd.act("decide", sags_id=sags_id, cause="FLEKSJOB")
    picture = (await ksd.case(sags_id))["picture"]
    assert (picture["Afslutningsaarsag"], picture["AfslutningsDato"]) == ("FLEKSJOB", "2026-08-30")


@pytest.mark.parametrize("cause", ["GRUNDLAG_MANGLER", "SAG_UKENDT_I_JOBCENTER"])
async def test_a_refusal_that_says_nothing_of_the_citizen_is_asked_again(ksd, cause):
    """Two weeks later, a new AnmodningID; payment runs, the old request is gone."""
    sags_id, asked = await refused(ksd, cause, 2026, 6, 20, 9)
    await to(ksd, 2026, 7, 4, 3, 59)
    assert ksd.gateway.m3[-1].AnmodningID == asked.AnmodningID
    await to(ksd, 2026, 7, 4, 4)

    new = ksd.gateway.m3[-1]
    assert new.AnmodningID != asked.AnmodningID
    assert new.Svarfrist == date(2026, 7, 17)
    assert (await ksd.case(sags_id))["state"] == "REVURDERING"
    resent = [each.Haendelsestype for each in ksd.gateway.m1].count("OPRETTET")
    assert resent == (2 if cause == "SAG_UKENDT_I_JOBCENTER" else 1)


async def test_what_follows_a_refusal_is_the_schemes_of_the_day(ksd):
    """Jobafklaring until 2026, a reduced rate from 2027 by a draft: in the task as after the end."""
    await refused(ksd, "INGEN_GRUND_OPFYLDT", 2026, 6, 20, 9)
    assert [follow_on for _, _, follow_on in await ksd.tasks()] == ["JOBAFKLARING"]
    await to(ksd, 2027, 1, 4, 9)
    await running(ksd, cpr=OTHER_CPR, FoersteFravaersdag="2026-11-02")
    await to(ksd, 2027, 4, 5, 9)
    asked = ksd.gateway.m3[-1]
    now = ksd.clock.now()
    answer = ksd.m4(
        asked, "AFVIST", cpr=OTHER_CPR, now=now, VurderingsDato=now.date(), Afvisningsaarsag="INGEN_GRUND_OPFYLDT"
    )
    assert await ksd.send(answer) == ("OK", [])
    assert [follow_on for _, _, follow_on in await ksd.tasks()] == ["JOBAFKLARING", "NEDSAT_SATS"]


async def test_a_renewal_that_is_refused_ends_what_was_granted(ksd):
    """The extension's own end is asked about eight weeks before; no ground left is P27_3_UDLOEBET with its scheme."""
    sags_id = await running(ksd)
    await to(ksd, 2026, 6, 5, 4)
    asked = ksd.gateway.m3[-1]
    now = ksd.clock.now()
    til = date(2027, 1, 31)
    assert await ksd.send(ksd.m4(asked, now=now, VurderingsDato=now.date(), til=til)) == ("OK", [])
    assert await coming(ksd, sags_id) == [("ASK", "2026-12-06T05:00:00+00:00")]
    await to(ksd, 2026, 12, 6, 5)
    renewal = ksd.gateway.m3[-1]
    assert (renewal.Anmodningstype, renewal.RevurderingsDato) == ("FORNYET_FORLAENGELSE", til)
    now = ksd.clock.now()
    answer = ksd.m4(renewal, "AFVIST", now=now, VurderingsDato=now.date(), Afvisningsaarsag="INGEN_GRUND_OPFYLDT")
    assert await ksd.send(answer) == ("OK", [])
    await to(ksd, 2027, 2, 1, 9)

    shown = await ksd.case(sags_id)
    assert (shown["picture"]["Afslutningsaarsag"], shown["picture"]["AfslutningsDato"]) == (
        "P27_3_UDLOEBET",
        "2027-01-31",
    )
    assert shown["follow_on"] == "NEDSAT_SATS"  # from 2027, by a draft


async def test_nothing_happens_by_itself_that_is_switched_off(ksd):
    """No question, no reminder, no decision; switched on again, what was missed is done at once."""
    await ksd.act("policy", asks=False, decides_after=-1)
    sags_id = await running(ksd)
    await to(ksd, 2026, 7, 1, 9)
    assert (ksd.gateway.m3, await coming(ksd, sags_id)) == ([], [])

    await ksd.act("policy", asks=True)
    await ksd.quiet()
    assert len(ksd.gateway.m3) == 1


# --- payment ---


async def test_payment_begins_when_the_employer_period_is_over(ksd):
    """A running case is told it thirty days after its first day; a case opened later has it from the start."""
    sags_id = await running(ksd, FoersteFravaersdag="2026-02-20", Arbejdsgiver={"CVRNummer": "29189846"}, Sagsart="11")
    late = await running(ksd, cpr=OTHER_CPR, FoersteFravaersdag="2026-01-12")
    assert "FoersteBeregningsdag" not in (await ksd.case(sags_id))["picture"]
    assert (await ksd.case(late))["picture"]["FoersteBeregningsdag"] == "2026-02-11"

    await to(ksd, 2026, 3, 22, 5)
    told = [each for each in ksd.gateway.m1 if str(each.Sygefravaerssag.SagsID) == sags_id][-1]
    assert said(told) == ("AENDRET", 2, "LOEBENDE", ("BEREGNING_AENDRET",))
    assert told.HaendelsesDato == told.Sygefravaerssag.FoersteBeregningsdag == date(2026, 3, 22)


async def test_the_sagsart_may_change_when_payment_begins(ksd):
    """Unemployed for the first fourteen days, then an employee: told as both changes, and StartSagsart stays."""
    await to(ksd, 2026, 3, 16, 9)
    sags_id = await running(ksd, FoersteFravaersdag="2026-03-06", Arbejdsgiver={"CVRNummer": "29189846"}, Sagsart="17")
    await to(ksd, 2026, 3, 20, 5)
    told = ksd.gateway.m1[-1]

    assert told.Aendringsaarsag == ("BEREGNING_AENDRET", "SAGSART_SKIFT", "REVURDERINGSDATO_AENDRET")
    case = told.Sygefravaerssag
    assert (case.Sagsart, case.StartSagsart, case.FoersteBeregningsdag) == ("11", "17", date(2026, 3, 20))
    assert (await ksd.case(sags_id))["versions"][-1]["rule"] == "s. 30: the employer period is over"


async def test_a_stop_is_resumed_within_four_weeks_or_ends(ksd):
    """s. 21: to the last day of the fourth week it can be resumed; after that KSD ends it."""
    first, second = await running(ksd), await running(ksd, cpr=OTHER_CPR)
    for sags_id in (first, second):
        await ksd.act("change_case", sags_id=sags_id, move="STOP", on="2026-03-02")
    with pytest.raises(Exception, match=r"s\. 21"):
        await ksd.act("change_case", sags_id=first, move="RESUME", on="2026-03-31")
    await to(ksd, 2026, 3, 30, 9)
    await ksd.act("change_case", sags_id=first, move="RESUME", on="2026-03-30")
    await to(ksd, 2026, 4, 1, 9)

    shown = await ksd.case(first)
    assert (shown["state"], shown["picture"]["RevurderingsDato"]) == ("LOEBENDE", "2026-08-31")  # 28 days not counted
    ended = await ksd.case(second)
    assert (ended["picture"]["Afslutningsaarsag"], ended["picture"]["AfslutningsDato"]) == (
        "P21_MANGLENDE_MEDVIRKEN",
        "2026-03-31",
    )


async def test_a_stop_while_a_request_is_out_goes_back_to_the_reassessment(ksd):
    """Resumed, the case is REVURDERING, and the answer that comes then makes it FORLAENGET."""
    sags_id = await running(ksd)
    await to(ksd, 2026, 6, 5, 4)
    (asked,) = ksd.gateway.m3
    await ksd.act("change_case", sags_id=sags_id, move="STOP", on="2026-06-10")
    await ksd.act("change_case", sags_id=sags_id, move="RESUME", on="2026-06-10")
    assert (await ksd.case(sags_id))["state"] == "REVURDERING"

    now = ksd.clock.now()
    answer = ksd.m4(asked, now=now, VurderingsDato=now.date(), til=date(2026, 12, 31))
    assert (await ksd.send(answer))[0] in {"OK", "ADVARSEL"}
    assert (await ksd.case(sags_id))["state"] == "FORLAENGET"


async def test_a_late_report_to_an_ended_case_is_told_as_its_end(ksd):
    """A jobcentre takes no other change of an ended case."""
    sags_id = await running(ksd)
    await ksd.act("end_case", sags_id=sags_id)
    await ksd.act("attach_report", sags_id=sags_id, report=str(uuid4()))
    await ksd.quiet()

    assert said(ksd.gateway.m1[-1]) == ("AFSLUTTET", 3, "AFSLUTTET", ("NEMREFUSION_TILKNYTTET",))


async def test_the_sagsart_changes_also_when_the_report_comes_after_the_first_weeks(ksd):
    """Reported as unemployed with an employer, fifty days in: it begins to run, and is an employee's."""
    sags_id = await running(ksd, Arbejdsgiver={"CVRNummer": "29189846"}, Sagsart="17")
    await ksd.quiet()

    picture = (await ksd.case(sags_id))["picture"]
    assert (picture["Sagsart"], picture["StartSagsart"], picture["FoersteBeregningsdag"]) == ("11", "17", "2026-01-26")


async def test_too_few_hours_of_partial_absence_end_the_case(ksd):
    """s. 53: four hours a week go on, less does not."""
    sags_id, other = await running(ksd), await running(ksd, cpr=OTHER_CPR)
    for each, cpr, hours in ((sags_id, CPR, "4"), (other, OTHER_CPR, "3.75")):
        case = next(told.Sygefravaerssag for told in ksd.gateway.m1 if str(told.Sygefravaerssag.SagsID) == each)
        period = {"FraDato": date(2026, 2, 20), "FravaerstimerPrUge": Decimal(hours)}
        update = ksd.m5(
            case, "DELVIS_RASKMELDING", cpr=cpr, GyldigFra=date(2026, 2, 20), DelvisPeriode=[_period(period)]
        )
        assert await ksd.send(update) == ("OK", [])

    assert (await ksd.case(sags_id))["state"] == "DELVIST_RASKMELDT"
    shown = await ksd.case(other)
    assert (shown["picture"]["Afslutningsaarsag"], shown["picture"]["AfslutningsDato"]) == (
        "DELVIS_OPHOERT",
        "2026-02-19",
    )


async def test_too_few_hours_that_lie_ahead_end_the_case_when_they_begin(ksd):
    """Agreed today for next month: part-time until then, over on the day before."""
    sags_id = await running(ksd)
    case = ksd.gateway.m1[-1].Sygefravaerssag
    periods = [
        _period({"FraDato": date(2026, 2, 20), "TilDato": date(2026, 3, 31), "FravaerstimerPrUge": Decimal(9)}),
        _period({"FraDato": date(2026, 4, 1), "FravaerstimerPrUge": Decimal(3)}),
    ]
    update = ksd.m5(case, "DELVIS_RASKMELDING", GyldigFra=date(2026, 2, 20), DelvisPeriode=periods)
    assert await ksd.send(update) == ("OK", [])
    assert (await ksd.case(sags_id))["state"] == "DELVIST_RASKMELDT"
    assert ("END_PARTIAL", "2026-04-01T04:00:00+00:00") in await coming(ksd, sags_id)
    await to(ksd, 2026, 4, 1, 4)

    picture = (await ksd.case(sags_id))["picture"]
    assert (picture["Afslutningsaarsag"], picture["AfslutningsDato"]) == ("DELVIS_OPHOERT", "2026-03-31")


async def test_an_end_that_ksd_came_to_is_taken_back_with_what_led_to_it(ksd):
    """Taken up again, a case is not ended once more the same day: the hours are gone, and what was stopped runs."""
    few, stopped = await running(ksd), await running(ksd, cpr=OTHER_CPR)
    case = next(each.Sygefravaerssag for each in ksd.gateway.m1 if str(each.Sygefravaerssag.SagsID) == few)
    periods = [
        _period({"FraDato": date(2026, 2, 10), "FravaerstimerPrUge": Decimal(9)}),
        _period({"FraDato": date(2026, 2, 20), "FravaerstimerPrUge": Decimal(3)}),
    ]
    update = ksd.m5(case, "DELVIS_RASKMELDING", GyldigFra=date(2026, 2, 20), DelvisPeriode=periods)
    assert await ksd.send(update) == ("OK", [])
    await ksd.act("change_case", sags_id=stopped, move="STOP", on="2026-03-02")
    await to(ksd, 2026, 4, 1, 9)
    for sags_id in (few, stopped):
        assert (await ksd.case(sags_id))["state"] == "AFSLUTTET"
        await ksd.act("reopen_case", sags_id=sags_id)
    await to(ksd, 2026, 4, 20, 9)

    shown = await ksd.case(few)
    hours = [each["FravaerstimerPrUge"] for each in shown["picture"]["DelvisPeriode"]]
    assert (shown["state"], hours) == ("DELVIST_RASKMELDT", ["9"])
    assert (await ksd.case(stopped))["state"] == "LOEBENDE"


async def test_a_stop_that_is_taken_up_again_has_its_four_weeks_anew(ksd):
    """Ended by another cause while stopped: it comes back as STANDSET, and waits from that day on."""
    sags_id = await running(ksd)
    await ksd.act("change_case", sags_id=sags_id, move="STOP", on="2026-03-02")
    await ksd.act("end_case", sags_id=sags_id, cause="UDREJST")
    await to(ksd, 2026, 5, 4, 9)
    await ksd.act("reopen_case", sags_id=sags_id)

    assert (await ksd.case(sags_id))["state"] == "STANDSET"
    assert await coming(ksd, sags_id) == [("END_STOPPED", "2026-06-02T04:00:00+00:00")]


def _period(given):
    from sygefravaer.contract.messages import DelvisPeriodeType

    return DelvisPeriodeType(**given)


async def test_the_form_comes_back_by_itself_where_that_is_wanted(ksd):
    """A citizen who always answers, six days after the report."""
    await ksd.act("policy", form_after=6)
    sags_id = await running(ksd, state="ANMELDT")
    await to(ksd, 2026, 3, 8, 5)

    shown = await ksd.case(sags_id)
    assert (shown["state"], shown["picture"]["OplysningsskemaModtaget"]) == ("OPLYST", "2026-03-08")


# --- reports that are held ---


async def test_held_reports_are_let_in_in_their_order(ksd):
    """Nothing is told while they are held; bad ones are refused at once; they survive a restart and come in order."""
    await ksd.act("policy", hold_reports=True)
    ids = [str(uuid4()) for _ in range(5)]
    for sags_id in ids:
        held = await ksd.act(
            "create_case", cpr=CPR, municipality_cvr=VIBORG, sags_id=sags_id, FoersteFravaersdag="2026-01-12"
        )
        assert held == {"held": True}
    for wrong in ({"municipality_cvr": "12345678"}, {"Sagsart": "10"}, {"FoersteFravaersdag": None}):
        given = {"cpr": CPR, "municipality_cvr": VIBORG, "FoersteFravaersdag": "2026-01-12"} | wrong
        with pytest.raises(ActRefused):
            await ksd.act("create_case", **given)
    assert (await ksd.act("health"))["held_reports"] == 5
    assert ksd.gateway.m1 == []
    await ksd.ksd.stop()
    ksd.ksd = ksd.build()
    await ksd.ksd.start()

    await ksd.act("policy", hold_reports=False)
    await ksd.quiet()
    assert (await ksd.act("health"))["held_reports"] == 0
    opened = [each["sags_id"] for each in reversed((await ksd.act("messages"))["messages"])]
    assert opened[:5] == ids


async def test_a_held_report_that_is_a_case_already_is_dropped(ksd):
    """Its NemrefusionsID is taken: the others come in."""
    await ksd.act("policy", hold_reports=True)
    same = str(uuid4())
    for nemrefusions_id in (same, same, str(uuid4())):
        await ksd.act(
            "create_case",
            cpr=CPR,
            municipality_cvr=VIBORG,
            nemrefusions_id=nemrefusions_id,
            FoersteFravaersdag="2026-01-12",
        )
    await ksd.act("policy", hold_reports=False)
    await ksd.quiet()

    assert len((await ksd.act("cases"))["cases"]) == 2


# --- a move ---


async def test_a_refusal_that_waits_goes_along_with_a_move(ksd):
    """What the old municipality said is nothing to the new one: it is asked anew."""
    sags_id, _ = await refused(ksd, "BORGER_FLYTTET", 2026, 6, 20, 9)
    await ksd.act("move_case", sags_id=sags_id, municipality_cvr=AARHUS, on="2026-06-24")
    await ksd.quiet()

    assert [each["status"] for each in (await ksd.case(sags_id))["requests"]] == ["withdrawn", "open"]
    assert ksd.gateway.m3[-1].Hoved.ModtagerMyndighedCVR == AARHUS


async def test_what_comes_is_the_same_after_a_restart(ksd):
    """The instants stand in the database."""
    sags_id = await running(ksd)
    before = await coming(ksd, sags_id)
    await ksd.ksd.stop()
    ksd.clock.advance(timedelta(days=120))
    ksd.ksd = ksd.build()
    await ksd.ksd.start()
    await ksd.quiet()

    assert before == [("ASK", "2026-06-05T04:00:00+00:00")]
    assert len(ksd.gateway.m3) == 1


async def test_a_case_that_breaks_is_put_off_and_holds_up_no_other(ksd, caplog):
    """Nobody has foreseen the error: it is tried again the day after, and the next case's turn comes at once."""
    broken, whole = await running(ksd), await running(ksd, cpr=OTHER_CPR)
    casework = ksd.ksd._agenda._casework
    ask = casework.ask

    async def breaking(tx, case, *args, **options):
        if str(case.sags_id) == str(broken):
            raise RuntimeError("unforeseen")
        return await ask(tx, case, *args, **options)

    casework.ask = breaking
    await to(ksd, 2026, 6, 5, 4)
    assert [str(asked.Sygefravaerssag.SagsID) for asked in ksd.gateway.m3] == [str(whole)]
    assert caplog.text.count("put off") == 1
    casework.ask = ask
    await to(ksd, 2026, 6, 6, 4)
    assert [str(asked.Sygefravaerssag.SagsID) for asked in ksd.gateway.m3] == [str(whole), str(broken)]


async def test_a_count_that_breaks_is_put_off_and_holds_up_no_other(ksd, caplog):
    """The note of it stays for the day after; what is due meanwhile is done."""
    first = await running(ksd)
    other = await running(ksd, cpr=OTHER_CPR)
    casework = ksd.ksd._agenda._casework
    count, failures = casework.count_anew, []

    async def breaking(*args, **options):
        if not failures:
            failures.append(1)
            raise RuntimeError("unforeseen")
        return await count(*args, **options)

    casework.count_anew = breaking
    await running(ksd, FoersteFravaersdag="2025-12-15")
    await ksd.quiet()
    assert caplog.text.count("put off") == 1
    await ksd.act("end_case", sags_id=other, cause="ANNULLERET")
    await ksd.quiet()
    assert (await ksd.case(other))["state"] == "ANNULLERET"
    assert (await ksd.case(first))["picture"]["RevurderingsDato"] == "2026-07-31"
    await to(ksd, 2026, 3, 3, 9)
    assert (await ksd.case(first))["picture"]["RevurderingsDato"] == "2026-06-30"
