# SPDX-License-Identifier: MPL-2.0
"""The plain form: what goes in is judged and never shown, what comes out is JSON and masked."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from sygefravaer.contract.messages import (
    ArbejdsgiverType,
    DelvisPeriodeType,
    ForlaengelseType,
    OpfoelgningType,
    OvergangType,
    SendOpdateringFravaerRequest,
    SygefravaerssagType,
)
from sygefravaer.contract.plain import fields_of_plain, of_plain, to_plain
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import FieldRefused

ID = "00000000-0000-0000-0000-00000000000a"


def a_case() -> SygefravaerssagType:
    return SygefravaerssagType(
        SagsID=UUID(ID),
        SagsVersion=1,
        NemrefusionsID=UUID(ID),
        CprNummer=Cpr.parse("0101505006"),
        Kommunekode="0791",
        Sagsart="11",
        SagsTilstand="LOEBENDE",
        Fravaerstype="FULDT",
        FoersteFravaersdag=date(2026, 1, 12),
        AnmeldelsesDato=date(2026, 2, 14),
        Beskaeftigelsesstatus="LOENMODTAGER",
        Arbejdsgiver=ArbejdsgiverType(CVRNummer="29189846", Navn="A & B"),
        ForbrugteUger=Decimal("17.5"),
        LivstruendeSygdom=True,
        Forlaengelse=(
            ForlaengelseType(Forlaengelseskode="P27_1_2", FraDato=date(2026, 5, 1), AfgoerelsesDato=date(2026, 4, 30)),
        ),
        SenestAendret=datetime(2026, 2, 14, 9, tzinfo=UTC),
    )


def test_a_case_comes_back_as_it_was() -> None:
    """Through JSON and back with its number revealed; without it is masked."""
    case = a_case()

    assert of_plain(SygefravaerssagType, to_plain(case, reveal=True)) == case
    assert to_plain(case)["CprNummer"] == "**********"


def test_an_element_is_made_by_its_own_type_hints() -> None:
    """Nested and repeated elements, spelled as on the wire; null is absent."""
    talk = {"Opfoelgningstype": "FOERSTE_OPFOELGNING", "Form": "TELEFON", "Udfald": None}

    made = of_plain(OpfoelgningType, talk | {"AfholdtTid": "2026-03-02T10:00:00Z"})

    assert made.AfholdtTid == datetime(2026, 3, 2, 10, tzinfo=UTC)
    period = {"FraDato": "2026-03-02", "FravaerstimerPrUge": "18.50"}
    assert of_plain(DelvisPeriodeType, period).FravaerstimerPrUge == Decimal("18.50")
    with pytest.raises(FieldRefused, match="`Hoved` is missing") as caught:
        of_plain(SendOpdateringFravaerRequest, {"OpdateringID": ID, "DelvisPeriode": [period]})
    assert caught.value.code == "FieldMissing"


def test_known_fields_cannot_be_given() -> None:
    """What is filled in already is no field."""
    assert of_plain(OvergangType, {"Type": "FLEKSJOB"}, Dato=date(2026, 3, 2)).Dato == date(2026, 3, 2)
    with pytest.raises(FieldRefused, match="`Type` is filled in") as caught:
        of_plain(OvergangType, {"Type": "x"}, Type="FLEKSJOB", Dato=date(2026, 3, 2))
    assert caught.value.code == "FieldUnknown"


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"Nope": 1}, "`Nope` is no field"),
        ({"Forlaengelse": "x"}, "`Forlaengelse` repeats"),
        ({"Forlaengelse": ["x"]}, "`Forlaengelse[0]` has parts"),
        ({"Forlaengelse": [{"FraDato": "2026-01-01"}]}, "`Forlaengelse[0]/Forlaengelseskode` is missing"),
        ({"Forlaengelse": [{"Forlaengelseskode": "SECRET"}]}, "`Forlaengelse[0]/Forlaengelseskode`"),
        ({"Arbejdsgiver": 3}, "`Arbejdsgiver` has parts"),
        ({"FoersteFravaersdag": "SECRET"}, "`FoersteFravaersdag`"),
        ({"FoersteFravaersdag": None}, "`FoersteFravaersdag`"),
        ({"SagsVersion": "SECRET"}, "`SagsVersion`"),
        ({"SagsVersion": True}, "`SagsVersion`"),
        ({"LivstruendeSygdom": 1}, "`LivstruendeSygdom`"),
        ({"ForbrugteUger": "SECRET"}, "`ForbrugteUger`"),
        ({"SenestAendret": "2026-01-01T00:00:00"}, "`SenestAendret`"),
        ({"SagsID": "SECRET"}, "`SagsID`"),
        ({"TilknyttetNemrefusionsID": [1]}, "`TilknyttetNemrefusionsID[0]`"),
    ],
)
def test_a_wrong_field_is_named_and_never_shown(given: dict[str, object], place: str) -> None:
    """The place and what was wanted; the value is nobody's business."""
    with pytest.raises(FieldRefused) as refusal:
        fields_of_plain(SygefravaerssagType, given)
    assert place in refusal.value.text
    assert "SECRET" not in refusal.value.text


def test_null_clears_what_may_be_absent() -> None:
    """And a number may stand for a decimal."""
    read = fields_of_plain(SygefravaerssagType, {"AkasseKode": None, "ForbrugteUger": 17.5})
    assert read == {"AkasseKode": None, "ForbrugteUger": Decimal("17.5")}


def test_what_comes_out_is_plain_and_masked() -> None:
    """No number of a person is shown unasked; what is absent is left out; an instant has one spelling."""
    made = of_plain(OvergangType, {"Type": "FLEKSJOB", "Dato": "2026-03-02"})
    assert to_plain(made) == {"Type": "FLEKSJOB", "Dato": "2026-03-02"}
    danish = datetime(2026, 3, 2, 10, tzinfo=timezone(timedelta(hours=1)))
    assert to_plain({"n": Cpr.parse("0101505006"), "t": danish, "l": [UUID(ID), 1.5, None]}) == {
        "n": "**********",
        "t": "2026-03-02T09:00:00+00:00",
        "l": [ID, 1.5, None],
    }
    assert to_plain(datetime(2026, 3, 2, 9)) == "2026-03-02T09:00:00"  # noqa: DTZ001
    assert to_plain(OvergangType) == str(OvergangType)
