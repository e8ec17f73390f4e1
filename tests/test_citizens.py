# SPDX-License-Identifier: MPL-2.0
"""People who do not exist: nobody's numbers, any amount, the same for the same seed."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from sygefravaer.cli import cli
from sygefravaer.client import hoved
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import HentSagsListeRequest
from sygefravaer.contract.operations import OPERATIONS, Environment, judge
from sygefravaer.contract.values import MUNICIPALITIES, Cpr, Cvr
from sygefravaer.errors import Refused
from sygefravaer.sandbox import citizens, listing
from sygefravaer.sandbox.citizens import EMPLOYERS, STATES, Citizen, SyntheticCase

TODAY = date(2026, 3, 2)
VIBORG, AARHUS = "29189846", "55133018"
TWO = [MUNICIPALITIES[VIBORG], MUNICIPALITIES[AARHUS]]
WEIGHTS = (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)


def first(count: int, seed: int = citizens.SEED) -> list[Citizen]:
    return list(islice(citizens.citizens(seed), count))


def fifty(seed: int = citizens.SEED, today: date = TODAY) -> list[SyntheticCase]:
    return list(citizens.cases(50, municipalities=TWO, today=today, seed=seed, substitutes=[AARHUS]))


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


def test_a_quarter_passes_the_old_check_and_the_others_do_not() -> None:
    """Counted over a thousand: one in four passes modulus 11 (one in eleven would by chance)."""
    counted = Counter(mod11(one) for one in first(1000))

    assert counted[True] in range(240, 260)
    assert [citizens.passes_check(one.cpr) for one in first(200)] == [mod11(one) for one in first(200)]


def test_production_refuses_them_and_test_takes_them() -> None:
    """The contract's own judge, over both environments, for ordinary and for substitute numbers."""
    found = [case.citizen.cpr for case in fifty()]
    operation = OPERATIONS["HentSagsListe"]

    def verdict(number: Cpr, environment: Environment) -> str | None:
        header = hoved(operation, municipality=VIBORG, sender=uuid4(), cpr=number, now=datetime.now(UTC))
        try:
            judge(operation, HentSagsListeRequest(Hoved=header), VIBORG, environment=environment)
        except Refused as refused:
            return refused.code
        return None

    assert {number.substitute for number in found} == {True, False}
    assert {verdict(number, Environment.TEST) for number in found} == {None}
    assert {verdict(number, Environment.PRODUCTION) for number in found} == {"G007"}


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
    """Fifty citizens spread evenly over two municipalities, and all states in each; each case has ids of its own."""
    made = fifty()

    for municipality in TWO:
        own = [case for case in made if case.municipality == municipality]
        assert len({case.citizen.cpr for case in own}) == 25
        assert (
            {case.state for case in own}
            == set(STATES)
            == {state.kode for state in LISTS["sagstilstande"]} - {"OVERFLYTTET"}
        )
    assert len({case.sags_id for case in made} | {case.nemrefusions_id for case in made}) == 2 * len(made)


def test_every_sagsart_that_opens_a_case_occurs() -> None:
    """Every code, so every group, within fifty citizens; most cases are ordinary ones."""
    counted = Counter(case.sagsart for case in fifty())

    assert set(counted) == {code.kode for code in LISTS["sagsarter"] if code.extra["aabnerSag"] == "ja"}
    assert counted["11"] > len(fifty()) / 2


def test_some_are_ill_from_two_employers() -> None:
    """One citizen, two open cases of Sagsart 11, two employers, two NemrefusionsIDs, in each municipality."""
    cases_of: dict[object, list[SyntheticCase]] = {}
    for case in (*fifty(), *citizens.cases(500, municipalities=TWO, today=TODAY, seed=1)):
        cases_of.setdefault(case.citizen.cpr, []).append(case)
    twice = [found for found in cases_of.values() if len(found) > 1]

    assert {found[0].municipality.cvr.text for found in twice} == {VIBORG, AARHUS}
    for one, other in twice:
        assert one.citizen == other.citizen
        assert one.municipality == other.municipality
        assert (one.state, one.sagsart, other.state, other.sagsart) == ("LOEBENDE", "11", "LOEBENDE", "11")
        assert None not in {one.employer, other.employer}
        assert one.employer != other.employer
        assert one.nemrefusions_id != other.nemrefusions_id


def test_substitute_numbers_are_few_and_only_where_they_are_taken() -> None:
    """Day + 60, the rest as it was, in the minority, in no other municipality, and unique like all."""
    made = fifty()
    raised = [case for case in made if case.citizen.cpr.substitute]

    assert {case.municipality.cvr.text for case in raised} == {AARHUS}
    assert 0 < len(raised) < len(made) / 5
    for case in raised:
        digits = case.citizen.cpr.reveal()
        assert f"{int(digits[:2]) - 60:02}{digits[2:6]}" == f"{case.citizen.born:%d%m%y}"
        assert case.citizen.cpr.synthetic
    none = citizens.cases(50, municipalities=TWO, today=TODAY)
    assert not any(case.citizen.cpr.substitute for case in none)


def test_a_closed_absence_has_its_last_day_in_the_report() -> None:
    """It ended before it was reported, so no form was ever sent and nobody follows it up."""
    closed = [case for case in fifty() if case.closed]

    assert closed
    for case in closed:
        assert case.state == "AFSLUTTET"
        assert case.questionnaire is None
        assert case.last_day is not None
        assert case.first_day < case.last_day <= case.reported


def test_all_of_the_country_and_one_place_alone() -> None:
    """Over 98 municipalities the states differ from one to the next; a single one has all of them."""
    everywhere = list(citizens.cases(98, municipalities=list(MUNICIPALITIES.values()), today=TODAY))
    alone = list(citizens.cases(40, municipalities=TWO[:1], today=TODAY))

    assert len({case.municipality for case in everywhere}) == 98
    assert {case.state for case in everywhere} == {case.state for case in alone} == set(STATES)
    assert {case.sagsart for case in alone} > {"11"}


def test_any_number_in_constant_memory() -> None:
    """Six times the cases need no more memory: each is made and forgotten."""

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            for _ in citizens.cases(count, municipalities=TWO, today=TODAY):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(3000) < 1.2 * peak(500)


def test_states_and_dates_fit_each_other() -> None:
    """A case is as old as its state needs; only an ended one has a last day; codes are of the contract."""
    for case in fifty():
        assert case.first_day < case.reported <= TODAY
        assert all(day is None or case.first_day < day <= TODAY for day in (case.questionnaire, case.partial))
        assert case.last_day is None or case.first_day < case.last_day < TODAY
        assert (case.partial is not None) == (case.state == "DELVIST_RASKMELDT")
        assert (case.stopped is not None) == (case.state == "STANDSET")
        assert case.stopped is None or TODAY - timedelta(weeks=4) < case.stopped < TODAY
        assert (case.last_day is not None) == (case.state == "AFSLUTTET")
        assert (case.extended is not None) == (case.state == "FORLAENGET")
        if case.extended is not None:
            first, last = case.extended
            assert case.first_day + timedelta(weeks=22) < first <= TODAY < last
            assert (first.day, (last + timedelta(days=1)).day) == (1, 1)
        assert LISTS["sagsarter"].get(case.sagsart)
        assert LISTS["sagstilstande"].get(case.state)
        assert LISTS["beskaeftigelsesstatusser"].get(case.employment)


def test_employers_have_well_formed_numbers() -> None:
    """An invented employer's CVR passes the check sum."""
    assert all(Cvr.valid(cvr) for _, cvr in EMPLOYERS)


# --- the command ---


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["citizens", *arguments])


def test_the_command_writes_a_case_a_line() -> None:
    """CSV with a line of names, or JSON, an object a line: the same cases; again the same for the same seed and day."""
    options = ["--count", "60", "--seed", "7", "--today", "2026-03-02", "--municipality", AARHUS, "--substitutes"]

    as_csv, as_json = run(*options), run(*options, "--format", "json")

    assert (as_csv.exit_code, as_json.exit_code) == (0, 0)
    rows = list(csv.DictReader(as_csv.stdout.splitlines()))
    objects = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [{name: value for name, value in row.items() if value} for row in rows] == objects
    assert len({row["CprNummer"] for row in rows}) == 60 < len(rows)
    assert {row["Kommunekode"] for row in rows} == {"0751"}
    assert set(rows[0]) == set(listing.COLUMNS)
    assert any(row["CprNummer"][0] in "6789" for row in rows)
    assert max(row["AnmeldelsesDato"] for row in rows) <= "2026-03-02"
    assert run(*options).stdout == as_csv.stdout
    assert all(value not in (None, "None") for row in rows for value in row.values())


def test_none_and_nowhere() -> None:
    """No citizen is a header alone; a CVR number of no municipality is refused with its code."""
    assert run("--count", "0").stdout == ",".join(listing.COLUMNS) + "\n"
    refused = run("--municipality", "99000007")
    assert (refused.exit_code, "NotAMunicipality" in refused.stderr) == (2, True)
    assert run("--count", "1").exit_code == 0
