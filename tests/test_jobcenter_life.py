# SPDX-License-Identifier: MPL-2.0
"""The life of a jobcentersag and what follows it: pure rules, no database."""

from datetime import date
from itertools import product

import pytest

from sygefravaer.contract.codes import LISTS
from sygefravaer.jobcenter.life import (
    STATUS,
    TRANSITIONS,
    Life,
    State,
    Trigger,
    scheme_ended,
    scheme_refused,
    state_of,
    triggers,
)
from sygefravaer.law import Law


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
    """A trigger leads where its row says; one without a row leaves the case, or what an assessment interrupts, alone."""
    life = Life(state=state, before=State.LOEBENDE_OPFOELGNING)
    moved = life.moved(trigger)
    if trigger not in TRANSITIONS[state] and state is State.VURDERER_FORLAENGELSE:
        below = Life(state=State.LOEBENDE_OPFOELGNING, before=State.LOEBENDE_OPFOELGNING).moved(trigger)
        assert (moved.state, moved.standing) == (state, below.state)
    elif trigger not in TRANSITIONS[state]:
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
        (["OPFOELGNING"], {"held": {"first_talk", "follow_up"}}, [Trigger.TALK]),
        (["OPFOELGNING"], {"held": {"follow_up"}}, []),
        (["OPFOELGNING"], {"held": {"team"}}, [Trigger.TEAM_MET]),
        (["OPFOELGNING"], {"held": {"team", "first_talk"}}, [Trigger.TEAM_MET, Trigger.TALK]),
        (["STANDBY"], {}, [Trigger.STAND_BY]),
        (["STANDBY"], {"status": "UDEN_OPFOELGNING_P13F"}, [Trigger.EXEMPT]),
        (["OVERGANG"], {}, [Trigger.TRANSFER]),
        (["SAG_LUKKET"], {}, [Trigger.CLOSE]),
        (["RASKMELDING", "DELVIS_RASKMELDING", "FORVENTET_RASKMELDING", "MANGLENDE_MEDVIRKEN"], {}, []),
        (["VISITATION", "OPFOELGNING"], {"kategori": "2", "held": {"first_talk"}}, [Trigger.FOLLOW_UP, Trigger.TALK]),
    ],
)
def test_what_an_update_does_to_the_case_it_tells_of(types, given, wanted):
    """Each Opdateringstype moves the jobcentersag as its block says, or not at all."""
    assert list(triggers(types, **({"kategori": None, "held": frozenset(), "status": None} | given))) == wanted


def test_a_first_talk_during_an_assessment_counts_after_it():
    """The assessment of an extension takes weeks; what happens meanwhile is not lost."""
    life = Life().moved(Trigger.FOLLOW_UP).moved(Trigger.ASKED).moved(Trigger.TALK)
    assert life.state is State.VURDERER_FORLAENGELSE
    assert life.moved(Trigger.ANSWERED).state is State.LOEBENDE_OPFOELGNING
    assert life.moved(Trigger.STAND_BY).moved(Trigger.ANSWERED).state is State.STANDBY


def test_a_second_question_interrupts_what_the_first_did():
    """Asked twice, answered: back to what was before the first."""
    life = Life().moved(Trigger.FOLLOW_UP).moved(Trigger.ASKED).moved(Trigger.ASKED)
    assert (life.state, life.standing) == (State.VURDERER_FORLAENGELSE, State.FOERSTE_OPFOELGNING)
    assert life.moved(Trigger.ANSWERED).state is State.FOERSTE_OPFOELGNING


def test_what_ksd_refused_leads_back():
    """A kategori that KSD does not take, and a talk that cannot have been, leave the case where it was."""
    assert Life().moved(Trigger.TEAM).moved(Trigger.UNVISITED).state is State.MODTAGET
    first = Life().moved(Trigger.FOLLOW_UP)
    assert first.moved(Trigger.TALK).moved(Trigger.UNTALKED).state is State.FOERSTE_OPFOELGNING


def test_the_team_gives_the_case_back_for_its_first_talk():
    """REHABTEAM is left when the team has met."""
    assert Life().moved(Trigger.TEAM).moved(Trigger.TEAM_MET).state is State.FOERSTE_OPFOELGNING


@pytest.mark.parametrize(("kategori", "state"), [("1", "VISITERET"), ("2", "FOERSTE_OPFOELGNING"), ("3", "REHABTEAM")])
def test_where_a_kategori_leads(kategori, state):
    """The code list says it."""
    assert state_of(kategori) is State(state)
    assert state_of("9") is None


LAW = Law.standard()
BEFORE, AFTER = date(2026, 12, 31), date(2027, 1, 1)


@pytest.mark.parametrize(
    ("aarsag", "before", "after"),
    [
        ("INGEN_GRUND_OPFYLDT", "JOBAFKLARING", "NEDSAT_SATS"),
        ("VARIGHED_OPBRUGT", "JOBAFKLARING", "NEDSAT_SATS"),
        ("ARBEJDSDYGTIG", None, None),
        ("RASKMELDT", None, None),
        ("OVERGAAET_ANDEN_YDELSE", None, None),
        ("BORGER_FLYTTET", None, None),
        ("BORGER_DOED", None, None),
        ("SAG_UKENDT_I_JOBCENTER", None, None),
        ("GRUNDLAG_MANGLER", None, None),
        ("NO_SUCH", None, None),
    ],
)
def test_what_follows_a_refusal(aarsag, before, after):
    """Who is still incapacitated goes over to what the law of the day has: jobafklaring, from 2027 a reduced rate."""
    assert (scheme_refused(LAW, aarsag, BEFORE), scheme_refused(LAW, aarsag, AFTER)) == (before, after)


def test_what_follows_an_end():
    """Only the time limit and a used up extension leave the citizen incapacitated; nothing else has a follow-on."""
    found = {code.kode: scheme_ended(LAW, code.kode, AFTER) for code in LISTS["afslutningsaarsager"]}
    assert {kode for kode, scheme in found.items() if scheme} == {"P24_OPHOER", "P27_3_UDLOEBET"}
    assert scheme_ended(LAW, "P24_OPHOER", BEFORE) == "JOBAFKLARING"
    assert scheme_ended(LAW, "NO_SUCH", BEFORE) is None
