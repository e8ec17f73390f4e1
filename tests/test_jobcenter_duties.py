# SPDX-License-Identifier: MPL-2.0
"""The life of a jobcentersag, the verdict on an event, deadlines: pure rules, no database."""

from datetime import date
from itertools import product

import pytest

from sygefravaer.contract.codes import LISTS
from sygefravaer.jobcenter.duties import (
    STATUS,
    TRANSITIONS,
    Citizen,
    Judgement,
    KnownCase,
    Life,
    State,
    Trigger,
    Verdict,
    duties,
    judge_event,
    triggers,
)


def test_every_state_has_a_row_and_every_trigger_moves_something():
    """The table is whole: no state without moves, no trigger without effect."""
    assert set(TRANSITIONS) == set(State)
    assert {trigger for moves in TRANSITIONS.values() for trigger in moves} == set(Trigger)


def test_every_state_is_told_by_a_status_of_the_contract():
    """What KSD is told of a state stands in the contract's list, and every status can be told."""
    assert set(STATUS) == set(State)
    assert set(STATUS.values()) == {code.kode for code in LISTS["jobcentersagstatusser"]}


@pytest.mark.parametrize(("state", "trigger"), list(product(State, Trigger)))
def test_every_move_of_the_table(state, trigger):
    """A trigger leads where its row says; one without a row leaves the case as it was."""
    life = Life(state=state, before=State.LOEBENDE_OPFOELGNING)
    moved = life.moved(trigger)
    if trigger not in TRANSITIONS[state]:
        assert moved is life
    elif TRANSITIONS[state][trigger] is None:
        assert moved.state is State.LOEBENDE_OPFOELGNING
    else:
        assert moved.state is TRANSITIONS[state][trigger]


def test_an_answered_assessment_leads_back_to_what_it_interrupted():
    """VURDERER_FORLAENGELSE ends in the state before it."""
    life = Life().moved(Trigger.FOLLOW_UP).moved(Trigger.TALK)
    assert life.moved(Trigger.ASKED).moved(Trigger.ANSWERED).state is State.LOEBENDE_OPFOELGNING


def test_a_case_that_was_closed_during_an_assessment_reopens_before_it():
    """Reopening never leads back into a question that was withdrawn."""
    life = Life().moved(Trigger.STAND_BY).moved(Trigger.ASKED).moved(Trigger.CLOSE)
    assert life.state is State.AFSLUTTET
    assert life.moved(Trigger.REOPEN).state is State.STANDBY


@pytest.mark.parametrize(
    ("types", "given", "wanted"),
    [
        (["VISITATION"], {"kategori": "1"}, [Trigger.QUICK]),
        (["VISITATION"], {"kategori": "2"}, [Trigger.FOLLOW_UP]),
        (["VISITATION"], {"kategori": "3"}, [Trigger.TEAM]),
        (["VISITATION"], {"kategori": None}, []),
        (["VISITATION"], {"kategori": "9"}, []),
        (["OPFOELGNING"], {"held": True}, [Trigger.TALK]),
        (["OPFOELGNING"], {"held": False}, []),
        (["STANDBY"], {}, [Trigger.STAND_BY]),
        (["STANDBY"], {"status": "UDEN_OPFOELGNING_P13F"}, [Trigger.EXEMPT]),
        (["OVERGANG"], {}, [Trigger.TRANSFER]),
        (["SAG_LUKKET"], {}, [Trigger.CLOSE]),
        (["RASKMELDING", "DELVIS_RASKMELDING", "FORVENTET_RASKMELDING", "MANGLENDE_MEDVIRKEN"], {}, []),
        (["VISITATION", "OPFOELGNING"], {"kategori": "2", "held": True}, [Trigger.FOLLOW_UP, Trigger.TALK]),
    ],
)
def test_what_an_update_does_to_the_case_it_tells_of(types, given, wanted):
    """Each Opdateringstype moves the jobcentersag as its block says, or not at all."""
    assert list(triggers(types, **({"kategori": None, "held": False, "status": None} | given))) == wanted


def known(**given):
    return KnownCase(**({"version": 3, "ended": False, "opened": True, "same_content": False} | given))


@pytest.mark.parametrize(
    ("case", "kind", "version", "reopened", "citizen", "verdict", "code"),
    [
        (None, "OPRETTET", 1, False, Citizen.KNOWN, Verdict.APPLIED, None),
        (None, "AENDRET", 3, False, Citizen.KNOWN, Verdict.EARLY, None),
        (None, "AFSLUTTET", 3, False, Citizen.KNOWN, Verdict.EARLY, None),
        (known(), "AENDRET", 4, False, Citizen.KNOWN, Verdict.APPLIED, None),
        (known(opened=False), "AENDRET", 4, False, Citizen.KNOWN, Verdict.EARLY, None),
        (known(), "AENDRET", 2, False, Citizen.KNOWN, Verdict.OBSOLETE, None),
        (known(), "OPRETTET", 1, False, Citizen.DEAD, Verdict.OBSOLETE, None),
        (known(), "AENDRET", 3, False, Citizen.KNOWN, Verdict.REFUSED, "B106"),
        (known(same_content=True), "AENDRET", 3, False, Citizen.KNOWN, Verdict.REPEATED, None),
        (known(same_content=True, opened=False), "AENDRET", 3, False, Citizen.KNOWN, Verdict.EARLY, None),
        (known(same_content=True, opened=False), "OPRETTET", 3, False, Citizen.KNOWN, Verdict.REPEATED, None),
        (known(ended=True), "AENDRET", 4, False, Citizen.KNOWN, Verdict.REFUSED, "B105"),
        (known(ended=True), "AENDRET", 4, True, Citizen.KNOWN, Verdict.APPLIED, None),
        (known(ended=True), "OPRETTET", 4, False, Citizen.KNOWN, Verdict.APPLIED, None),
        (known(ended=True), "AFSLUTTET", 4, False, Citizen.KNOWN, Verdict.APPLIED, None),
        (None, "OPRETTET", 1, False, Citizen.MOVED, Verdict.REFUSED, "B101"),
        (None, "OPRETTET", 1, False, Citizen.UNKNOWN, Verdict.REFUSED, "B102"),
        (known(), "AENDRET", 4, False, Citizen.DEAD, Verdict.REFUSED, "B103"),
        (known(), "AFSLUTTET", 4, False, Citizen.MOVED, Verdict.APPLIED, None),
        (known(), "AFSLUTTET", 4, False, Citizen.DEAD, Verdict.APPLIED, None),
    ],
)
def test_the_verdict_on_an_event(case, kind, version, reopened, citizen, verdict, code):  # noqa: PLR0917  a table
    """The order key decides first, then who the citizen is, then whether the case runs, then whether it was opened."""
    found = judge_event(case, haendelsestype=kind, version=version, reopened=reopened, citizen=citizen)
    assert found == Judgement(verdict=verdict, code=code)


FIRST = date(2024, 10, 7)


def test_the_first_talk_is_due_by_the_end_of_the_eighth_week():
    """Kategori 2: eight weeks from the first absence day, that day counted."""
    (duty,) = duties(Life(state=State.FOERSTE_OPFOELGNING), first_day=FIRST, kategori="2", visited=FIRST)
    assert (duty.name, duty.due, duty.clause) == ("first follow-up", date(2024, 12, 1), "s. 13 b(1)")


def test_kategori_3_has_the_team_within_four_weeks_and_still_the_first_talk():
    """Until 2025 kategori 3 brings both duties, the earlier one first."""
    found = duties(Life(state=State.REHABTEAM), first_day=FIRST, kategori="3", visited=date(2024, 10, 21))
    assert [(each.name, each.due) for each in found] == [
        ("rehabiliteringsteam", date(2024, 11, 18)),
        ("first follow-up", date(2024, 12, 1)),
    ]


def test_no_team_for_a_visitation_after_kategori_3_was_abolished():
    """From 1 January 2025 there is no such duty."""
    found = duties(Life(state=State.REHABTEAM), first_day=FIRST, kategori="3", visited=date(2025, 1, 1))
    assert [each.name for each in found] == ["first follow-up"]


def test_duties_begin_with_visitation_and_end_with_the_case():
    """A new case has to be visited; a closed one has no duty left."""
    assert [each.name for each in duties(Life(), first_day=FIRST, kategori=None, visited=None)] == ["visitation"]
    assert duties(Life(state=State.AFSLUTTET), first_day=FIRST, kategori="2", visited=FIRST) == ()
