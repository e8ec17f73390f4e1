# SPDX-License-Identifier: MPL-2.0
"""People who do not exist: nobody's numbers, any amount, the same for the same seed."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import islice

import pytest

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.values import MUNICIPALITIES, Cvr
from sygefravaer.sandbox import citizens
from sygefravaer.sandbox.citizens import EMPLOYERS, STATES, Citizen, SyntheticCase

TODAY = date(2026, 3, 2)
TWO = [MUNICIPALITIES["29189846"], MUNICIPALITIES["55133018"]]
WEIGHTS = (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)


def first(count: int, seed: int = citizens.SEED) -> list[Citizen]:
    return list(islice(citizens.citizens(seed), count))


def fifty(seed: int = citizens.SEED, today: date = TODAY) -> list[SyntheticCase]:
    return list(citizens.cases(50, municipalities=TWO, today=today, seed=seed))


def mod11(citizen: Citizen) -> bool:
    digits = citizen.cpr.reveal()
    return sum(int(digit) * weight for digit, weight in zip(digits, WEIGHTS, strict=True)) % 11 == 0


def test_every_number_is_nobodys() -> None:
    """Ten thousand citizens: all well formed, all synthetic, no number twice, and the number says the birthday."""
    many = first(10_000)

    assert all(one.cpr.well_formed and one.cpr.synthetic and not one.cpr.substitute for one in many)
    assert len({one.cpr for one in many}) == len(many)
    assert all(one.cpr.reveal()[:6] == f"{one.born:%d%m%y}" for one in many)
    assert {one.born.year for one in many} == set(range(2037, 2058))
    assert {one.cpr.reveal()[6] for one in many} == set("5678")


def test_both_kinds_of_number_and_the_crowded_birthday_occur_in_fifty() -> None:
    """Among the sandbox's fifty: with and without modulus 11, and at least two born on 1 January."""
    fifty_people = first(50)

    assert {mod11(one) for one in fifty_people} == {True, False}
    assert sum((one.born.month, one.born.day) == (1, 1) for one in fifty_people) >= 2


def test_a_seed_gives_the_same_people() -> None:
    """Same seed: same people; another seed: others."""
    assert first(50) == first(50)
    assert not {one.cpr for one in first(50)} & {one.cpr for one in first(50, seed=1)}


def test_when_the_crowded_birthdays_are_used_up_others_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sequence goes on until every number was given, and then ends."""
    monkeypatch.setattr(citizens, "SERIALS", 1)
    monkeypatch.setattr(citizens, "LAST_YEAR", 2038)

    everyone = list(citizens.citizens(3))

    assert len({one.cpr for one in everyone}) == len(everyone) == 730


def test_names_are_as_in_the_telephone_book() -> None:
    """A name is a first and a last name, and they vary."""
    names = {one.name for one in first(200)}

    assert len(names) > 100
    assert all(len(name.split()) == 2 for name in names)


def test_ids_do_not_depend_on_the_day() -> None:
    """A sandbox started another day knows the same people under the same ids; only the dates have moved."""
    then, now = fifty(today=TODAY), fifty(today=TODAY + timedelta(days=400))

    def identify(case: SyntheticCase) -> tuple[object, ...]:
        return (case.citizen, case.sags_id, case.nemrefusions_id, case.state, case.municipality)

    assert [identify(case) for case in then] == [identify(case) for case in now]
    assert then[0].first_day != now[0].first_day


def test_each_municipality_has_cases_in_each_state() -> None:
    """Fifty cases spread evenly over two municipalities and all states."""
    made = fifty()

    for municipality in TWO:
        own = [case for case in made if case.municipality == municipality]
        assert len(own) == 25
        assert {case.state for case in own} == set(STATES)
    assert len({case.sags_id for case in made} | {case.nemrefusions_id for case in made}) == 100


def test_states_and_dates_fit_each_other() -> None:
    """A case is as old as its state needs; only an ended one has a last day; codes are of the contract."""
    for case in fifty():
        assert case.first_day < case.reported <= TODAY
        assert (case.last_day is not None) == (case.state == "AFSLUTTET")
        assert (case.extended_until is not None) == (case.state == "FORLAENGET")
        assert case.state == "FORLAENGET" or case.review > TODAY
        assert (case.review + timedelta(days=1)).day == 1
        assert LISTS["sagsarter"].get(case.sagsart)
        assert LISTS["sagstilstande"].get(case.state)
        assert LISTS["beskaeftigelsesstatusser"].get(case.employment)


def test_employers_have_well_formed_numbers() -> None:
    """An invented employer's CVR passes the check sum."""
    assert all(Cvr.valid(cvr) for _, cvr in EMPLOYERS)
