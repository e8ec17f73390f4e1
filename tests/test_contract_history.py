# SPDX-License-Identifier: MPL-2.0
"""Two truths: what was so on a day, and what somebody could know of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from sygefravaer.contract.history import Told, as_known, versions
from sygefravaer.contract.messages import HaendelseType, SygefravaerssagType
from sygefravaer.contract.values import Cpr

FIRST = date(2026, 1, 12)


def known(month: int, day: int) -> datetime:
    return datetime(2026, month, day, 12, tzinfo=UTC)


PICTURE = SygefravaerssagType(
    SagsID=UUID(int=1),
    SagsVersion=1,
    NemrefusionsID=UUID(int=2),
    CprNummer=Cpr.parse("0101505006"),
    Kommunekode="0791",
    Sagsart="11",
    SagsTilstand="LOEBENDE",
    Fravaerstype="FULDT",
    FoersteFravaersdag=FIRST,
    AnmeldelsesDato=date(2026, 2, 14),
    Beskaeftigelsesstatus="LOENMODTAGER",
    SenestAendret=known(2, 14),
)


def told(version: int, on: date, heard: datetime, **changes) -> Told:
    return Told(version=version, on=on, known=heard, picture=replace(PICTURE, SagsVersion=version, **changes))


LIFE = [
    told(1, FIRST, known(2, 14)),
    told(2, date(2026, 3, 2), known(3, 2), Visitationskategori="2"),
    # Retroactive: recovered six weeks before anybody knew.
    told(3, date(2026, 3, 20), known(5, 1), Visitationskategori="2", SagsTilstand="AFSLUTTET"),
    # Taken back, from the day of the end.
    told(4, date(2026, 3, 20), known(6, 1), Visitationskategori="2"),
    # Corrected from the beginning; says nothing of the kategori before it was chosen.
    told(5, date(2026, 1, 1), known(6, 10), Visitationskategori="2", FoersteFravaersdag=date(2026, 1, 1)),
]


@pytest.mark.parametrize(
    ("on", "heard", "tilstand", "kategori", "first"),
    [
        (date(2026, 4, 1), known(4, 1), "LOEBENDE", "2", FIRST),
        (date(2026, 4, 1), known(5, 2), "AFSLUTTET", "2", FIRST),
        (date(2026, 4, 1), known(6, 2), "LOEBENDE", "2", FIRST),
        (date(2026, 3, 19), known(5, 2), "LOEBENDE", "2", FIRST),
        (date(2026, 2, 1), known(6, 2), "LOEBENDE", None, FIRST),
        (date(2026, 2, 1), known(6, 11), "LOEBENDE", None, date(2026, 1, 1)),
        (date(2026, 1, 5), known(6, 11), "LOEBENDE", None, date(2026, 1, 1)),
        (date(2026, 4, 1), known(6, 11), "LOEBENDE", "2", date(2026, 1, 1)),
    ],
)
def test_what_was_true_on_a_day_as_it_was_known(on, heard, tilstand, kategori, first):
    picture = as_known(reversed(LIFE), on=on, known=heard)

    assert picture is not None
    assert (picture.SagsTilstand, picture.Visitationskategori, picture.FoersteFravaersdag) == (
        tilstand,
        kategori,
        first,
    )


@pytest.mark.parametrize(
    ("on", "heard"),
    [(date(2026, 1, 11), known(6, 2)), (date(2026, 4, 1), known(2, 13)), (date(2025, 1, 1), known(7, 1))],
)
def test_before_its_first_day_and_before_it_was_heard_of_there_is_no_case(on, heard):
    assert as_known(LIFE, on=on, known=heard) is None


def test_the_history_of_hentsag_is_joined_with_its_pictures():
    """A version whose picture was not fetched is left out."""
    events = [
        HaendelseType(
            SagsVersion=each.version,
            Haendelsestype="AENDRET",
            HaendelsesDato=each.on,
            Aendringsaarsag=("GENOPTAGET",),
            BeskedID=UUID(int=each.version),
            RegistreretTidspunkt=each.known,
        )
        for each in LIFE
    ]

    assert versions(events, {each.version: each.picture for each in LIFE}) == LIFE
    assert [each.version for each in versions(events, {2: LIFE[1].picture})] == [2]
