# SPDX-License-Identifier: MPL-2.0
"""What a jobcentre must do, and by when: pure rules over all states of the law, no database."""

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

import pytest

from sygefravaer.contract.codes import LISTS
from sygefravaer.jobcenter.duties import (
    Name,
    duties,
    event_duty,
    exempt_until,
    extension_duty,
    kategori_for,
    may_exempt,
    quick_until,
)
from sygefravaer.jobcenter.facts import Deed, Facts, What, fulfilled_by, was_held
from sygefravaer.jobcenter.life import State
from sygefravaer.law import NEVER, Law, at

LAW = Law.standard()
SAG = UUID(int=1)
FIRST = date(2024, 10, 7)


def facts(*deeds, **given):
    """Make up a jobcentersag that waits for its first talk."""
    values = {
        "jobcentersag_id": SAG,
        "state": State.FOERSTE_OPFOELGNING,
        "first_day": FIRST,
        "known_on": FIRST + timedelta(days=33),
        "kategori": "2",
        "deeds": deeds,
    }
    return Facts(**(values | given))


def talk(day, kind="FOERSTE_OPFOELGNING", form="FREMMOEDE", outcome="AFHOLDT", **given):
    """Make up a follow-up."""
    held_at = at(day, 9) if outcome == "AFHOLDT" else None
    return Deed(what=What.FOLLOW_UP, day=day, kind=kind, form=form, outcome=outcome, held_at=held_at, **given)


def planned(day, kind="LOEBENDE_OPFOELGNING"):
    """Make up a follow-up that is to come."""
    return Deed(what=What.FOLLOW_UP, day=day, kind=kind, form="TELEFON", planned_at=at(day, 13))


def visit(day, kategori):
    """Make up a visitation."""
    return Deed(what=What.VISITATION, day=day, kategori=kategori)


def due(found, *, on=FIRST, law=LAW, without=(Name.WIDER_TEST,)):
    """Give names and days of what is due; the wider test is everybody's and has tests of its own."""
    return [(duty.name.value, duty.due) for duty in duties(found, law, on=on) if duty.name not in without]


# --- visitation and first talk ---


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2014, 7, 1), date(2014, 8, 25)),
        (date(2018, 3, 1), date(2018, 4, 25)),  # across the change to summer time
        (date(2020, 2, 29), date(2020, 4, 24)),
        (date(2023, 12, 31), date(2024, 2, 24)),
        (date(2024, 10, 7), date(2024, 12, 1)),  # across the change to winter time
        (date(2025, 1, 6), date(2025, 3, 2)),
        (date(2028, 1, 5), date(2028, 2, 29)),
        (date(2027, 12, 1), date(2028, 1, 25)),
    ],
)
def test_the_first_talk_is_due_by_the_end_of_the_eighth_week(first, last):
    """Day 56, the first absence day counted, under every state of the law; visitation has the same last day."""
    assert due(facts(first_day=first), on=first) == [("first talk", last)]
    new = facts(first_day=first, state=State.MODTAGET, kategori=None)
    assert due(new, on=first) == [("visitation", last)]
    assert (last - first).days == 55
    assert quick_until(LAW, first) == last


def test_a_duty_names_its_law():
    """Clause, state of the law, how sure that is, and what the duty is about."""
    (duty,) = [each for each in duties(facts(), LAW, on=FIRST) if each.name is Name.FIRST_TALK]
    assert (duty.clause, duty.ruleset, duty.confidence, duty.subject) == ("§ 13 b, stk. 1", "R2014", "fact", SAG)


def test_a_corrected_first_day_moves_the_deadline():
    """Eleven days earlier is eleven days earlier."""
    assert due(facts(first_day=FIRST - timedelta(days=11))) == [("first talk", date(2024, 11, 20))]


@pytest.mark.parametrize(
    ("expected", "kategori"),
    [(date(2024, 12, 1), "1"), (date(2024, 12, 2), "2"), (None, "2"), (date(2024, 10, 8), "1")],
)
def test_the_kategori_that_fits(expected, kategori):
    """Kategori 1 when full recovery is expected within eight weeks of the first absence day, day 56 included."""
    new = facts(state=State.MODTAGET, kategori=None, expected=expected)
    assert kategori_for(new, LAW, on=date(2024, 11, 1)) == kategori


def test_kategori_1_runs_out():
    """It wants no talk, and another kategori when its weeks are over: then 1 is not right any more."""
    quick = facts(state=State.VISITERET, kategori="1", expected=date(2024, 11, 20))
    assert due(quick) == [("visitation", date(2024, 12, 1))]
    assert kategori_for(quick, LAW, on=date(2024, 11, 1)) == "2"
    assert kategori_for(replace(quick, kategori=None), LAW, on=date(2024, 12, 1)) == "2"


@pytest.mark.parametrize(
    ("kind", "form", "counts"),
    [
        ("FOERSTE_OPFOELGNING", "FREMMOEDE", True),
        ("TIDLIG_OPFOELGNING", "FREMMOEDE", True),
        ("FOERSTE_OPFOELGNING", "TELEFON", False),
        ("FOERSTE_OPFOELGNING", "DIGITALT_FREMMOEDE", False),
        ("FOERSTE_OPFOELGNING", "BREV", False),
        ("LOEBENDE_OPFOELGNING", "FREMMOEDE", False),
        ("RASKMELDINGSKONTROL", "FREMMOEDE", False),
        ("REHABTEAMMOEDE", "FREMMOEDE", False),
        ("PAA_BORGERS_OENSKE", "FREMMOEDE", False),
    ],
)
def test_what_counts_as_the_first_talk(kind, form, counts):
    """A first or an early one, in person."""
    names = [name for name, _ in due(facts(talk(date(2024, 11, 11), kind, form)))]
    assert names == (["follow-up"] if counts else ["first talk"])


def test_from_july_2026_the_first_talk_has_no_form():
    """Our reading of R2026: the norm has a last day."""
    for day, wanted in ((date(2026, 6, 30), "first talk"), (date(2026, 7, 1), "follow-up")):
        found = facts(talk(day, form="TELEFON"), first_day=date(2026, 5, 18))
        assert [name for name, _ in due(found, on=day)] == [wanted]


@pytest.mark.parametrize(
    ("outcome", "held"),
    [
        ("AFHOLDT", True),
        ("UDEBLIVELSE", False),
        ("AFLYST_BORGER", False),
        ("AFLYST_KOMMUNE", False),
        ("FRITAGET", False),
    ],
)
def test_only_what_was_held_counts(outcome, held):
    """The list of outcomes says which; without an outcome the time says it."""
    assert was_held(outcome, at(FIRST, 9)) is held
    assert was_held("NO_SUCH", at(FIRST, 9)) is False
    assert was_held(None, at(FIRST, 9)) is True
    assert was_held(None, None) is False


def test_what_ksd_refused_counts_for_nothing():
    """A talk that cannot have been leaves the duty, and the policy does not hold it again by itself."""
    found = facts(talk(date(2024, 11, 11), refused=True))
    assert due(found) == [("first talk", date(2024, 12, 1))]
    assert [name for name, _ in due(found.whole())] == ["follow-up"]


# --- early follow-up ---


def test_early_follow_up_within_two_weeks():
    """S. 7 c and 7 e: two weeks from when it was asked for; only an early talk is one."""
    asked = facts(early_since=date(2024, 11, 4))
    assert due(asked)[0] == ("early talk", date(2024, 11, 18))
    assert ("early talk", date(2024, 11, 18)) in due(replace(asked, deeds=(talk(date(2024, 11, 8)),)))
    held = replace(asked, deeds=(talk(date(2024, 11, 8), "TIDLIG_OPFOELGNING"),))
    assert "early talk" not in [name for name, _ in due(held)]


# --- follow-ups after the first talk ---


@pytest.mark.parametrize(
    ("last", "wanted"),
    [
        (date(2014, 9, 1), date(2014, 9, 29)),
        (date(2020, 2, 3), date(2020, 3, 2)),
        (date(2023, 9, 20), date(2023, 10, 18)),
    ],
)
def test_every_four_weeks_under_the_old_law(last, wanted):
    """Until 20 September 2023 a follow-up is due four weeks after the last one."""
    found = facts(talk(last), first_day=last - timedelta(days=40))
    assert due(found, on=last) == [("follow-up", wanted)]


@pytest.mark.parametrize(
    ("first", "end"),
    [
        (date(2023, 8, 21), date(2024, 2, 20)),
        (date(2023, 8, 31), date(2024, 2, 28)),
        (date(2024, 2, 29), date(2024, 8, 28)),
        (date(2024, 10, 7), date(2025, 4, 6)),
        (date(2025, 12, 1), date(2026, 5, 31)),
    ],
)
def test_four_in_the_first_six_months_from_r2023(first, end):
    """Four follow-ups by the end of six months from the first day, the first talk being one; then as agreed."""
    days = [first + timedelta(days=40 + 14 * number) for number in range(4)]
    held = [talk(days[0]), *(talk(day, "LOEBENDE_OPFOELGNING", "TELEFON") for day in days[1:])]
    for number in range(1, 4):
        found = facts(*held[:number], first_day=first)
        (duty,) = [each for each in duties(found, LAW, on=days[0]) if each.name is Name.FOLLOW_UP]
        assert (duty.due, duty.left) == (end, 4 - number)
    assert due(facts(*held, first_day=first)) == []


def test_what_is_agreed_is_due_on_its_day():
    """A talk that is planned, until it is held, missed or given up."""
    day = date(2025, 5, 5)
    assert due(facts(planned(day), state=State.STANDBY)) == []
    found = facts(talk(date(2024, 11, 11)), planned(day))
    assert ("planned talk", day) in due(found)
    assert ("planned talk", day) not in due(facts(replace(planned(day), closed=True)))


@pytest.mark.parametrize(
    ("outcome", "follow_on"),
    [
        ("UDEBLIVELSE", ["MANGLENDE_MEDVIRKEN"]),
        ("AFLYST_BORGER", ["NY_TID"]),
        ("AFLYST_KOMMUNE", ["NY_TID"]),
        ("FRITAGET", []),
        ("AFHOLDT", []),
    ],
)
def test_what_follows_a_talk_that_was_not_held(outcome, follow_on):
    """The list of outcomes says what; five working days, our own: Monday 11 November to the 18th."""
    found = facts(talk(date(2024, 11, 11), outcome=outcome))
    wanted = [(name, date(2024, 11, 18)) for name in follow_on]
    assert [each for each in due(found) if each[0].isupper()] == wanted
    done = (Deed(what=What.COOPERATION, day=date(2024, 11, 12)), planned(date(2024, 11, 15)))
    assert [each for each in due(replace(found, deeds=(*found.deeds, *done))) if each[0].isupper()] == []


# --- exemption, standby ---

TALKED = date(2025, 3, 3)


@pytest.mark.parametrize(
    ("on", "held", "limit"),
    [
        (date(2024, 12, 31), True, None),
        (date(2025, 1, 1), True, TALKED + timedelta(weeks=13)),
        (date(2025, 1, 1), False, None),
        (date(2026, 6, 30), True, TALKED + timedelta(weeks=13)),
        (date(2026, 7, 1), False, date(2025, 1, 20) + timedelta(weeks=26) - timedelta(days=1)),
        (date(2027, 1, 1), True, date(2025, 1, 20) + timedelta(weeks=26) - timedelta(days=1)),
    ],
)
def test_how_far_exemption_reaches(on, held, limit):
    """None before 2025; 13 weeks after the first talk; from R2026 26 weeks from the first day, without a talk."""
    found = facts(*([talk(TALKED)] if held else []), first_day=date(2025, 1, 20))
    assert exempt_until(found, LAW, on=on) == limit
    assert may_exempt(found, LAW, on=on) is False  # nobody knows when recovery is expected
    assert exempt_until(replace(found, employed=False), LAW, on=on) is None


@pytest.mark.parametrize(
    ("expected", "may"),
    [
        (date(2025, 6, 2), True),
        (date(2025, 6, 3), False),
        (date(2025, 3, 11), True),
        (date(2025, 3, 10), False),  # the day has come, and he is not well
        (date(2025, 3, 9), False),
    ],
)
def test_whose_recovery_is_near_may_be_exempted(expected, may):
    """Expected after today, and by the end of 13 weeks after the talk of 3 March."""
    found = facts(talk(TALKED), first_day=date(2025, 1, 20), expected=expected)
    assert may_exempt(found, LAW, on=date(2025, 3, 10)) is may


def test_who_is_exempt_has_no_talks_while_the_law_lets_it():
    """A later expected recovery brings the duty back."""
    found = facts(talk(TALKED), first_day=date(2025, 1, 20), state=State.UDEN_OPFOELGNING, expected=date(2025, 5, 1))
    assert due(found, on=TALKED) == []
    assert [name for name, _ in due(replace(found, expected=date(2025, 9, 1)), on=TALKED)] == ["follow-up"]


def test_standby_has_no_talks():
    """Serious illness: neither first talk nor early talk nor visitation; the wider test stays."""
    found = facts(state=State.STANDBY, kategori=None, early_since=FIRST)
    assert due(found) == []
    assert due(found, without=()) == [("wider test", date(2025, 1, 7))]


# --- the team ---


@pytest.mark.parametrize(
    ("visited", "wanted"),
    [
        (date(2014, 7, 1), date(2014, 7, 29)),
        (date(2024, 10, 21), date(2024, 11, 18)),
        (date(2024, 12, 31), date(2025, 1, 28)),
        (date(2025, 1, 1), None),
        (date(2026, 7, 1), None),
    ],
)
def test_the_team_within_four_weeks_of_kategori_3(visited, wanted):
    """Until 2025 kategori 3 brings the team and still the first talk; later there is no such kategori."""
    found = facts(visit(visited, "3"), state=State.REHABTEAM, kategori="3", first_day=visited - timedelta(days=35))
    named = dict(due(found, on=visited))
    assert named.get("rehabiliteringsteam") == wanted
    assert "first talk" in named
    met = replace(found, deeds=(*found.deeds, talk(visited, "REHABTEAMMOEDE")))
    assert "rehabiliteringsteam" not in dict(due(met, on=visited))


def test_a_team_before_the_visitation_was_another_matter():
    """Only a meeting from the visitation on is the one that it brings."""
    found = facts(visit(date(2024, 10, 21), "3"), talk(date(2024, 10, 20), "REHABTEAMMOEDE"), kategori="3")
    assert "rehabiliteringsteam" in dict(due(found))


# --- the wider test ---


@pytest.mark.parametrize(
    ("first", "wanted"),
    [
        (date(2024, 10, 7), date(2025, 1, 7)),
        (date(2024, 11, 30), date(2025, 2, 28)),
        (date(2023, 11, 29), date(2024, 2, 29)),
        (date(2024, 2, 29), date(2024, 5, 29)),
    ],
)
def test_the_wider_test_at_three_months(first, wanted):
    """S. 7; made by itself, or at a follow-up from that day on."""
    found = facts(first_day=first)
    assert ("wider test", wanted) in due(found, without=())
    for deed in (Deed(what=What.TEST, day=wanted), talk(wanted, "LOEBENDE_OPFOELGNING")):
        assert ("wider test", wanted) not in due(replace(found, deeds=(deed,)), without=())
    early = talk(wanted - timedelta(days=1))
    assert ("wider test", wanted) in due(replace(found, deeds=(early,)), without=())


# --- answers, and the end ---


def test_an_event_is_answered_within_one_working_day():
    """Friday is due on Monday; before Easter it is Tuesday."""
    assert event_duty(LAW, SAG, received=date(2026, 2, 27)).due == date(2026, 3, 2)
    assert event_duty(LAW, SAG, received=date(2026, 4, 1)).due == date(2026, 4, 7)


def test_an_extension_is_answered_by_its_svarfrist():
    """KSD names the day."""
    duty = extension_duty(LAW, SAG, date(2026, 4, 16), received=date(2026, 3, 2))
    assert (duty.name, duty.due, duty.subject) == (Name.EXTENSION, date(2026, 4, 16), SAG)


@pytest.mark.parametrize("state", [State.AFSLUTTET, State.JOBAFKLARING])
def test_what_is_over_has_no_duties(state):
    """A closed case, and one that another scheme has taken over."""
    assert duties(facts(state=state, kategori=None), LAW, on=FIRST) == ()


def test_a_first_day_that_means_never():
    """Nothing is counted from the end of the calendar."""
    assert duties(facts(first_day=NEVER), LAW, on=FIRST) == ()
    assert duties(facts(first_day=date.max, early_since=date.max), LAW, on=FIRST) == ()


def test_duties_come_by_their_day():
    """The earliest first."""
    found = facts(visit(date(2024, 10, 21), "3"), state=State.REHABTEAM, kategori="3")
    assert [name for name, _ in due(found, without=())] == ["rehabiliteringsteam", "first talk", "wider test"]


def test_a_law_that_is_replaced_moves_the_days(tmp_path):
    """What is unverified is configurable, and marked so."""
    file = tmp_path / "norms.csv"
    head = "norm,value,unit,validFrom,validTo,ruleset,clause,source,confidence,text\n"
    file.write_text(head + "follow_ups_at_least,2,gange,2023-09-21,,R2023,x,y,own,z\n", encoding="utf-8")
    found = facts(talk(date(2024, 11, 11)))
    (duty,) = [each for each in duties(found, LAW.replaced(file), on=FIRST) if each.name is Name.FOLLOW_UP]
    assert (duty.left, duty.confidence) == (1, "own")


def test_every_word_of_the_list_of_follow_ups_is_known():
    """The data and the rules speak of the same."""
    words = frozenset().union(*(fulfilled_by(code.kode) for code in LISTS["opfoelgningstyper"]))
    assert words == {"early_talk", "first_talk", "follow_up", "team"}
    assert fulfilled_by(None) == fulfilled_by("NO_SUCH") == frozenset()
