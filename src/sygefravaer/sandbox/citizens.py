# SPDX-License-Identifier: MPL-2.0
"""
People who do not exist, and their cases: as many as wanted, the same for the same seed.

A number that belongs to nobody: birth years 37-57 with a seventh digit of 5-8 mean, by the CPR office's table of
centuries, born 2037-2057. Such a number is well formed, some pass the old modulus 11 check and most do not, as with
numbers given out since 2007, and every twenty-fifth is born on 1 January, where real numbers are crowded.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import gcd
from typing import Final
from uuid import UUID, uuid5

from sygefravaer.contract.values import Cpr, Municipality

FIRST_YEAR: Final = 2037
LAST_YEAR: Final = 2057
FIRST_SERIAL: Final = 5000  # the seventh digit is the first of the serial: 5-8
SERIALS: Final = 4000
NEW_YEAR_EVERY: Final = 25

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
    state: str
    sagsart: str
    employment: str
    employer: tuple[str, str] | None
    akasse: str | None
    first_day: date
    reported: date
    last_day: date | None
    questionnaire: date | None
    review: date
    extended_until: date | None


def citizens(seed: int = SEED) -> Iterator[Citizen]:
    """
    Give citizens without end, no number twice, the same sequence for the same seed.

    Ends only when the numbers do, after some 30 million.
    """
    others = _shuffled([day for day in _days() if (day.month, day.day) != (1, 1)], seed)
    new_years = _shuffled([date(year, 1, 1) for year in range(FIRST_YEAR, LAST_YEAR + 1)], seed + 1)
    names = random.Random(seed)  # noqa: S311  nothing is kept secret by a made-up name
    index = 0
    while True:
        source = new_years if index % NEW_YEAR_EVERY == 0 else others
        drawn = next(source, None) or next(others, None)
        if drawn is None:
            return
        born, serial = drawn
        name = f"{names.choice(FIRST_NAMES)} {names.choice(LAST_NAMES)}"
        yield Citizen(cpr=Cpr.parse(f"{born:%d%m%y}{serial}"), name=name, born=born)
        index += 1


STATES: Final = (
    *("ANMELDT", "OPLYST", "LOEBENDE", "LOEBENDE", "DELVIST_RASKMELDT"),
    *("LOEBENDE", "REVURDERING", "FORLAENGET", "STANDSET", "AFSLUTTET"),
)
"""States of ten cases in a row; the next ten begin anew."""

_WEEKS: Final = {  # weeks since the first day of absence: least and most, so that the state can be true
    "ANMELDT": (5, 6),
    "OPLYST": (6, 8),
    "LOEBENDE": (8, 13),
    "DELVIST_RASKMELDT": (9, 13),
    "REVURDERING": (16, 20),
    "FORLAENGET": (28, 40),
    "STANDSET": (9, 13),
    "AFSLUTTET": (10, 13),
}
_EMPLOYMENT: Final = (  # Beskaeftigelsesstatus and a Sagsart of its group
    ("LOENMODTAGER", "11"),
    ("LOENMODTAGER", "11"),
    ("LEDIG", "17"),
    ("LOENMODTAGER", "13"),
    ("SELVSTAENDIG", "22"),
    ("FLEKSJOB", "43"),
    ("ARBEJDSSKADE", "42"),
)
_REVIEW_WEEKS: Final = 22  # s. 24(1): more than 22 weeks, at the end of the month


def cases(
    count: int, *, municipalities: Sequence[Municipality], today: date, seed: int = SEED
) -> Iterator[SyntheticCase]:
    """
    Give `count` cases, one a citizen, in turn over the municipalities.

    CPR numbers, names, SagsID and NemrefusionsID depend on the seed alone; the dates lie before `today`, so that each
    case is in a state that fits its age.
    """
    chance = random.Random(seed)  # noqa: S311
    people = citizens(seed)
    for index in range(count):
        # The state moves on once all municipalities had their turn: each has cases in each state.
        state = STATES[index // len(municipalities) % len(STATES)]
        employment, sagsart = _EMPLOYMENT[index % len(_EMPLOYMENT)]
        least, most = _WEEKS[state]
        first_day = today - timedelta(weeks=chance.randint(least, most), days=chance.randint(0, 6))
        reported = first_day + timedelta(days=33)
        review = _month_end(first_day + timedelta(weeks=_REVIEW_WEEKS))
        citizen = next(people)
        yield SyntheticCase(
            citizen=citizen,
            sags_id=uuid5(NAMESPACE, f"{seed}/{index}/sag"),
            nemrefusions_id=uuid5(NAMESPACE, f"{seed}/{index}/nemrefusion"),
            municipality=municipalities[index % len(municipalities)],
            state=state,
            sagsart=sagsart,
            employment=employment,
            employer=EMPLOYERS[index % len(EMPLOYERS)] if employment in ("LOENMODTAGER", "FLEKSJOB") else None,
            akasse="01" if employment == "LEDIG" else None,
            first_day=first_day,
            reported=reported,
            last_day=today - timedelta(days=chance.randint(3, 14)) if state == "AFSLUTTET" else None,
            questionnaire=None if state == "ANMELDT" else min(reported + timedelta(days=6), today),
            review=review,
            extended_until=_month_end(today + timedelta(weeks=26)) if state == "FORLAENGET" else None,
        )


def _days() -> list[date]:
    first = date(FIRST_YEAR, 1, 1)
    return [first + timedelta(days=index) for index in range((date(LAST_YEAR + 1, 1, 1) - first).days)]


def _shuffled(days: list[date], seed: int) -> Iterator[tuple[date, int]]:
    # An affine walk meets every (day, serial) once and needs no memory of where it has been.
    total = len(days) * SERIALS
    chance = random.Random(seed)  # noqa: S311
    place, step = chance.randrange(total), chance.randrange(total // 3, total)
    while gcd(step, total) != 1:
        step += 1
    for _ in range(total):
        yield days[place // SERIALS], FIRST_SERIAL + place % SERIALS
        place = (place + step) % total


def _month_end(day: date) -> date:
    following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return following - timedelta(days=1)
