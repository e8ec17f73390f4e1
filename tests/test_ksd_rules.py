# SPDX-License-Identifier: MPL-2.0
"""KSD's rules as pure functions: the life of a case, deadlines, maximums, and the forms of a picture."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import ArbejdsgiverType, ForlaengelseType, SygefravaerssagType
from sygefravaer.contract.values import Cpr
from sygefravaer.ksd import changes, pictures, rules
from sygefravaer.ksd.lifecycle import ENDED, HANDED_OVER, OPEN, TRANSITIONS, IllegalMove, State, Trigger, follow, move

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def picture(**given) -> SygefravaerssagType:
    values = {
        "SagsID": UUID(int=1),
        "SagsVersion": 3,
        "NemrefusionsID": UUID(int=2),
        "CprNummer": Cpr.parse("0101505006"),
        "Kommunekode": "0791",
        "Sagsart": "11",
        "SagsTilstand": "LOEBENDE",
        "Fravaerstype": "FULDT",
        "FoersteFravaersdag": date(2026, 1, 12),
        "AnmeldelsesDato": date(2026, 2, 14),
        "Beskaeftigelsesstatus": "LOENMODTAGER",
        "SenestAendret": NOW,
    } | given
    return SygefravaerssagType(**values)


def granted(kode, first, last):
    return ForlaengelseType(Forlaengelseskode=kode, FraDato=first, TilDato=last, AfgoerelsesDato=first)


# --- the life of a case ---


def test_the_states_are_those_of_the_contract():
    """OVERFLYTTET is the one SagsTilstand that no case is in."""
    assert {*State, HANDED_OVER} == {code.kode for code in LISTS["sagstilstande"]}


def test_every_move_of_the_table_can_be_made():
    """Where a trigger leads to one state it needs no telling; every state but ANNULLERET can be left."""
    for state, moves in TRANSITIONS.items():
        for trigger, targets in moves.items():
            for target in targets:
                assert move(state, trigger, to=target) is target
            if len(targets) == 1:
                assert move(state, trigger) in targets
    assert [state for state, moves in TRANSITIONS.items() if not moves] == [State.ANNULLERET]
    assert set(State) == OPEN | ENDED


@pytest.mark.parametrize(
    ("state", "trigger", "to"),
    [
        (State.ANMELDT, Trigger.CATEGORY, None),
        (State.OPLYST, Trigger.ASK, None),
        (State.LOEBENDE, Trigger.GRANT, None),
        (State.REVURDERING, Trigger.PART_TIME, None),
        (State.STANDSET, Trigger.STOP, None),
        (State.AFSLUTTET, Trigger.END, None),
        (State.AFSLUTTET, Trigger.REOPEN, None),
        (State.AFSLUTTET, Trigger.REOPEN, State.ANNULLERET),
        (State.ANNULLERET, Trigger.ANNUL, None),
    ],
)
def test_every_other_move_is_refused_with_what_would_do(state, trigger, to):
    """The error names the state, the trigger with its clause, and what applies instead."""
    with pytest.raises(IllegalMove) as refusal:
        move(state, trigger, to=to)
    assert state in refusal.value.text
    assert trigger.name in refusal.value.text


def test_triggers_that_do_not_apply_change_nothing():
    """A form makes ANMELDT OPLYST, a kategori makes that LOEBENDE; the same again nothing."""
    assert follow(State.ANMELDT, Trigger.FORM, Trigger.CATEGORY) is State.LOEBENDE
    assert follow(State.LOEBENDE, Trigger.FORM, Trigger.CATEGORY) is State.LOEBENDE


def test_a_kategori_that_came_before_the_form_counts_when_the_form_comes():
    """Visited while ANMELDT stays ANMELDT; the form then leads to LOEBENDE."""
    visited = changes.changed(picture(), State.ANMELDT, {"Visitationskategori": "1"}, on=NOW.date())
    assert visited.state is State.ANMELDT
    formed = changes.changed(visited.picture, visited.state, {"OplysningsskemaModtaget": NOW.date()}, on=NOW.date())
    assert formed.state is State.LOEBENDE


def test_an_extension_outside_a_reassessment_leaves_the_state():
    """A stopped case stays stopped when an extension comes."""
    change = changes.extended(picture(), State.STANDSET, granted("P27_1_5", date(2026, 5, 1), None))
    assert (change.state, change.picture.SagsTilstand) == (State.STANDSET, "STANDSET")


# --- what changed ---


def test_first_day_employer_and_number_are_material():
    """Version, state and time of a picture are no content; everything else is relevant."""
    case = picture()
    same = picture(SagsVersion=9, SagsTilstand="REVURDERING", SenestAendret=NOW + timedelta(days=1))
    assert not changes.relevant(case, same)
    for name, value in (
        ("FoersteFravaersdag", date(2026, 1, 1)),
        ("Arbejdsgiver", ArbejdsgiverType(Navn="x")),
        ("CprNummer", Cpr.parse("0201505103")),
    ):
        other = picture(**{name: value})
        assert changes.material(case, other)
        assert changes.relevant(case, other)
    harmless = picture(Visitationskategori="2")
    assert changes.relevant(case, harmless)
    assert not changes.material(case, harmless)


# --- codes ---


def test_possible_codes_follow_the_kind_and_the_day():
    """s. 27 for most, s. 29 for the s. 25 group, no rights (s. 24 a, 24 b) and nothing before July 2014."""
    day = date(2026, 4, 30)
    assert rules.possible_codes("FOERSTE_REVURDERING", day) == tuple(f"P27_1_{number}" for number in range(1, 8))
    assert rules.possible_codes("PENSIONIST_PARAGRAF25", day) == ("P29",)
    assert rules.possible_codes("FORNYET_FORLAENGELSE", date(2014, 6, 30)) == ()


# --- pictures ---


def test_a_picture_comes_back_as_it_was():
    """Stored and read."""
    case = picture(
        Arbejdsgiver=ArbejdsgiverType(CVRNummer="29189846", Navn="A & B"),
        ForbrugteUger=Decimal("17.5"),
        LivstruendeSygdom=True,
        Forlaengelse=(granted("P27_1_2", date(2026, 5, 1), None),),
    )
    assert pictures.unpack(pictures.pack(case)) == case
