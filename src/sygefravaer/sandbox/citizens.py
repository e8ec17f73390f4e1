# SPDX-License-Identifier: MPL-2.0
"""
People who do not exist, and their cases: as many as wanted, the same for the same seed.

A number that belongs to nobody: birth years 37-57 with a seventh digit of 5-8 mean, by the CPR office's table of
centuries, born 2037-2057. Such a number is well formed; every fourth passes the old modulus 11 check and the others do
not, as with numbers given out since 2007; and every twenty-fifth is born on 1 January, where real numbers are crowded.
Where a municipality takes substitute numbers (day + 60) some of its citizens have one.

Everything is made one by one and forgotten: a million cases need no more memory than one.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import gcd
from typing import Final
from uuid import UUID, uuid5

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.values import Cpr, Municipality
from sygefravaer.ksd.lifecycle import State
from sygefravaer.ksd.opening import SAGSART, employment
from sygefravaer.law import Norm

FIRST_YEAR: Final = 2037
LAST_YEAR: Final = 2057
FIRST_SERIAL: Final = 5000  # the seventh digit is the first of the serial: 5-8
SERIALS: Final = 4000
NEW_YEAR_EVERY: Final = 25
CHECKED_EVERY: Final = 4
WEIGHTS: Final = (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)  # of the modulus 11 check (cpr.dk)
SUBSTITUTE_EVERY: Final = 8
RAISED_BY: Final = 60  # days, in a substitute number (cpr.dk)

SEED: Final = 2090
NAMESPACE: Final = UUID("6f0e3a52-1d0c-5e57-9a43-6a2d3e1c2090")  # made up: ids of synthetic cases live under it

FIRST_NAMES: Final = (
    *("Anne", "Peter", "Kirsten", "Jens", "Mette", "Lars", "Hanne", "Michael", "Anna", "Søren", "Helle", "Thomas"),
    *("Maria", "Henrik", "Susanne", "Christian", "Lene", "Jan", "Marianne", "Martin", "Camilla", "Niels", "Ida"),
    *("Anders", "Louise", "Morten", "Pia", "Jørgen", "Tina", "Rasmus", "Ingrid", "Mads", "Gitte", "Per", "Åse"),
    *("Fatima", "Ali", "Freja", "Oscar", "Nivi", "Malik"),
)
LAST_NAMES: Final = (
    *("Nielsen", "Jensen", "Hansen", "Andersen", "Pedersen", "Christensen", "Larsen", "Sørensen", "Rasmussen"),
    *("Jørgensen", "Petersen", "Madsen", "Kristensen", "Olsen", "Thomsen", "Møller", "Poulsen", "Johansen"),
    *("Knudsen", "Østergaard", "Holm", "Kjær", "Bech-Nørgaard", "Lund", "Skov", "Ågård", "Yilmaz", "Nguyen"),
)
AKASSE: Final = "01"
EMPLOYERS: Final = (  # invented names; the numbers pass the CVR check sum and are of no known company
    ("Nordlys Tømrer og Snedker ApS", "99000007"),
    ("Æblegårdens Bageri", "99000015"),
    ("Fjordens Transport A/S", "99000023"),
    ("Kildevæld Rengøring ApS", "99000031"),
)


@dataclass(frozen=True, kw_only=True)
class Citizen:
    """One who does not exist."""

    cpr: Cpr
    name: str
    born: date


@dataclass(frozen=True, kw_only=True)
class SyntheticCase:
    """One sickness-benefit case as KSD is to know it when a sandbox starts; codes as the contract spells them."""

    citizen: Citizen
    sags_id: UUID
    nemrefusions_id: UUID
    municipality: Municipality
    state: State
    sagsart: str
    employment: str
    employer: tuple[str, str] | None
    akasse: str | None
    first_day: date
    reported: date
    last_day: date | None
    closed: bool
    """Its last day was known when it was reported: a closed absence, which nobody follows up."""
    questionnaire: date | None
    partial: date | None
    stopped: date | None
    extended: tuple[date, date] | None
    """First and last day of an extension. When a case is reassessed KSD counts by itself."""


def citizens(seed: int = SEED) -> Iterator[Citizen]:
    """
    Give citizens without end, no number twice, the same sequence for the same seed.

    Ends only when the numbers do, after some 30 million.
    """
    crowded = date(FIRST_YEAR, 1, 1)
    others = [day for day in _days() if (day.month, day.day) != (crowded.month, crowded.day)]
    new_years = _numbers([crowded.replace(year=year) for year in range(FIRST_YEAR, LAST_YEAR + 1)], seed + 1)
    # One walk, gone twice: each takes what the other leaves.
    checked = (one for one in _numbers(others, seed) if passes_check(one[1]))
    unchecked = (one for one in _numbers(others, seed) if not passes_check(one[1]))
    names = random.Random(seed)  # noqa: S311  nothing is kept secret by a made-up name
    index = 0
    while True:
        wanted = new_years if index % NEW_YEAR_EVERY == 0 else checked if index % CHECKED_EVERY == 1 else unchecked
        drawn = next((one for source in (wanted, unchecked, checked, new_years) for one in source), None)
        if drawn is None:
            return
        born, cpr = drawn
        name = f"{names.choice(FIRST_NAMES)} {names.choice(LAST_NAMES)}"
        yield Citizen(cpr=cpr, name=name, born=born)
        index += 1


def passes_check(number: Cpr) -> bool:
    """Say whether a number passes the modulus 11 check, which is no criterion any more."""
    digits = number.reveal()
    return sum(int(digit) * weight for digit, weight in zip(digits, WEIGHTS, strict=True)) % 11 == 0


@dataclass(frozen=True, kw_only=True)
class _Course:
    """How far a case has come, and how many weeks ago its absence can have begun for that to be true."""

    state: State
    weeks: tuple[int, int]
    closed: bool = False


_COURSES: Final = (
    _Course(state=State.ANMELDT, weeks=(5, 6)),
    _Course(state=State.OPLYST, weeks=(6, 8)),
    _Course(state=State.LOEBENDE, weeks=(8, 13)),
    _Course(state=State.LOEBENDE, weeks=(8, 13)),
    _Course(state=State.DELVIST_RASKMELDT, weeks=(9, 13)),
    _Course(state=State.REVURDERING, weeks=(16, 20)),
    _Course(state=State.FORLAENGET, weeks=(28, 40)),
    _Course(state=State.STANDSET, weeks=(9, 13)),
    _Course(state=State.AFSLUTTET, weeks=(10, 13)),
    _Course(state=State.AFSLUTTET, weeks=(5, 9), closed=True),
    _Course(state=State.ANNULLERET, weeks=(5, 8)),
)
"""Of eleven cases in a row of one municipality; the next eleven begin anew."""

STATES: Final = tuple(course.state for course in _COURSES)

_NEXT_DOOR: Final = 5  # the courses that a municipality is ahead of the one before it
_TWICE: Final = 3  # the course (LOEBENDE) in which somebody can be ill from two employers
_TWICE_EVERY: Final = 2 * len(_COURSES)

_OTHERS: Final = tuple(
    code.kode for code in LISTS["sagsarter"] if code.extra["aabnerSag"] == "ja" and code.kode != SAGSART
)
"""Each other Sagsart that opens a case."""
_OTHER_EVERY: Final = 3
_REVIEW_WEEKS: Final = 22  # s. 24(1): more than 22 weeks, at the end of the month


def cases(
    count: int,
    *,
    municipalities: Sequence[Municipality],
    today: date,
    seed: int = SEED,
    substitutes: Collection[str] = (),
) -> Iterator[SyntheticCase]:
    """
    Give the cases of `count` citizens, in turn over the municipalities; some citizens have two.

    Whoever has two is ill from two employers, and both cases are open. `substitutes` are the municipalities (CVR) that
    take substitute numbers. CPR numbers, names, SagsID and NemrefusionsID depend on the seed alone; the dates lie
    before `today`, so that each case is in a state that fits its age.
    """
    chance = random.Random(seed)  # noqa: S311
    others = 0
    for index, citizen in zip(range(count), citizens(seed), strict=False):
        round_, place = divmod(index, len(municipalities))
        municipality, turn = municipalities[place], round_ + _NEXT_DOOR * place
        course = _COURSES[turn % len(_COURSES)]
        twice = turn % _TWICE_EVERY == _TWICE
        sagsart = SAGSART
        if (round_ + place) % _OTHER_EVERY == _OTHER_EVERY - 1 and not twice:
            sagsart = _OTHERS[others % len(_OTHERS)]
            others += 1
        if municipality.cvr.text in substitutes and turn % SUBSTITUTE_EVERY == 1:
            citizen = replace(citizen, cpr=_raised(citizen.cpr))  # noqa: PLW2901  the same person
        for job in range(2 if twice else 1):
            yield _case(
                f"{seed}/{index}" + ("" if job == 0 else f"/{job}"),
                citizen,
                municipality,
                course,
                sagsart,
                employer=EMPLOYERS[(index + job) % len(EMPLOYERS)],
                today=today,
                chance=chance,
            )


def _case(
    key: str,
    citizen: Citizen,
    municipality: Municipality,
    course: _Course,
    sagsart: str,
    *,
    employer: tuple[str, str],
    today: date,
    chance: random.Random,
) -> SyntheticCase:
    first_day = today - timedelta(weeks=chance.randint(*course.weeks), days=chance.randint(0, 6))
    reported = first_day + timedelta(days=33)
    recent = today - timedelta(days=chance.randint(3, 14))
    last_day = reported - timedelta(days=chance.randint(0, 2)) if course.closed else recent
    wait = LISTS["sagsarter"].get(sagsart).extra["ikkeMedregnet"]  # who has an employer, and who is unemployed
    asked = course.state not in {State.ANMELDT, State.ANNULLERET} and not course.closed
    return SyntheticCase(
        citizen=citizen,
        sags_id=uuid5(NAMESPACE, f"{key}/sag"),
        nemrefusions_id=uuid5(NAMESPACE, f"{key}/nemrefusion"),
        municipality=municipality,
        state=course.state,
        sagsart=sagsart,
        employment=employment(sagsart),
        employer=employer if wait == Norm.EMPLOYER_PERIOD else None,
        akasse=AKASSE if wait == Norm.UNEMPLOYED_WAIT else None,
        first_day=first_day,
        reported=reported,
        last_day=last_day if course.state is State.AFSLUTTET else None,
        closed=course.closed,
        questionnaire=min(reported + timedelta(days=6), today) if asked else None,
        partial=recent if course.state is State.DELVIST_RASKMELDT else None,
        stopped=recent if course.state is State.STANDSET else None,
        extended=_extension(first_day, today) if course.state is State.FORLAENGET else None,
    )


def _extension(first_day: date, today: date) -> tuple[date, date]:
    review = _month_end(first_day + timedelta(weeks=_REVIEW_WEEKS))
    return review + timedelta(days=1), _month_end(today + timedelta(weeks=26))


def _days() -> list[date]:
    first = date(FIRST_YEAR, 1, 1)
    return [first + timedelta(days=index) for index in range((date(LAST_YEAR + 1, 1, 1) - first).days)]


def _numbers(days: list[date], seed: int) -> Iterator[tuple[date, Cpr]]:
    # An affine walk meets every (day, serial) once and needs no memory of where it has been.
    total = len(days) * SERIALS
    chance = random.Random(seed)  # noqa: S311
    place, step = chance.randrange(total), chance.randrange(total // 3, total)
    while gcd(step, total) != 1:
        step += 1
    for _ in range(total):
        born = days[place // SERIALS]
        yield born, Cpr.parse(f"{born:%d%m%y}{FIRST_SERIAL + place % SERIALS}")
        place = (place + step) % total


def _raised(number: Cpr) -> Cpr:
    digits = number.reveal()
    return Cpr.parse(f"{int(digits[:2]) + RAISED_BY}{digits[2:]}")


def _month_end(day: date) -> date:
    following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return following - timedelta(days=1)
