# SPDX-License-Identifier: MPL-2.0
"""Fields of acts: what goes in is judged and never shown, what comes out is plain and masked."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest

from sygefravaer.contract.messages import DelvisPeriodeType, OpfoelgningType, OvergangType, SendOpdateringFravaerRequest
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import ActRefused
from sygefravaer.jobcenter.fields import Fields, element, plain

ID = "00000000-0000-0000-0000-00000000000a"


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        (str, "a", "a"),
        (bool, False, False),
        (int, 3, 3),
        (float, 3, 3.0),
        (UUID, ID, UUID(ID)),
        (date, "2026-03-02", date(2026, 3, 2)),
        (datetime, "2026-03-02T10:00:00+01:00", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        (Decimal, 3.5, Decimal("3.5")),
        (Cpr, "0101505006", Cpr.parse("0101505006")),
        (dict, {}, {}),
    ],
)
def test_a_field_is_read_by_its_kind(kind, given, wanted):
    """Each kind of value has one spelling in JSON."""
    assert Fields({"f": given}).take("f", kind) == wanted


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (str, 7),
        (bool, "true"),
        (int, True),
        (int, 1.0),
        (float, "x"),
        (float, True),
        (UUID, "not one"),
        (UUID, 7),
        (date, "today"),
        (datetime, "2026-03-02T10:00:00"),
        (datetime, 5),
        (Decimal, "x"),
        (Cpr, "9999999999"),
        (Cpr, 5),
        (dict, []),
    ],
)
def test_a_wrong_field_is_named_and_never_shown(kind, given):
    """The refusal says which field and what was wanted; the value is nobody's business."""
    with pytest.raises(ActRefused, match="`f`") as caught:
        Fields({"f": given}).take("f", kind)
    assert caught.value.code == "FieldWrong"
    assert str(given) not in caught.value.text.replace("true or false", "")


def test_missing_unknown_and_null_fields():
    """A field that must be there, one that nobody knows, and one that is null."""
    with pytest.raises(ActRefused, match="`f` is missing"):
        Fields({"f": None}).take("f", str)
    fields = Fields({"a": 1, "b": 2, "c": None})
    assert (fields.find("a", int), fields.find("c", int), fields.find("d", int)) == (1, None, None)
    with pytest.raises(ActRefused, match="b"):
        fields.done()


def test_words_and_lists():
    """A word is one of a few; a list is of strings; a pair is two of them or none."""
    assert Fields({"c": "red"}).choice("c", Colour) is Colour.RED
    assert Fields({}).choice("c", Colour) is None
    with pytest.raises(ActRefused, match="red"):
        Fields({"c": "blue"}).choice("c", Colour)
    assert Fields({"l": ["a"]}).texts("l") == ("a",)
    assert Fields({}).texts("l") == ()
    for wrong in ("a", [1]):
        with pytest.raises(ActRefused, match="list of strings"):
            Fields({"l": wrong}).texts("l")
    assert Fields({}).pair("p") is None
    assert Fields({"p": []}).pair("p") == ()
    assert Fields({"p": ["a", "b"]}).pair("p") == ("a", "b")
    with pytest.raises(ActRefused, match="two strings"):
        Fields({"p": ["a"]}).pair("p")


def test_wire_fields_are_those_with_a_capital():
    """They are taken together, and the rest is left."""
    fields = Fields({"Overgang": {}, "sags_id": ID})
    assert fields.wire() == {"Overgang": {}}
    assert fields.find("sags_id", UUID)
    fields.done()


def test_an_element_is_made_by_its_own_type_hints():
    """Nested and repeated elements, spelled as on the wire."""
    made = element(
        OpfoelgningType,
        {
            "Opfoelgningstype": "FOERSTE_OPFOELGNING",
            "Form": "TELEFON",
            "AfholdtTid": "2026-03-02T10:00:00Z",
            "Udfald": None,
        },
    )
    assert made.AfholdtTid == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert element(OvergangType, {"Type": "FLEKSJOB"}, Dato=date(2026, 3, 2)).Dato == date(2026, 3, 2)
    period = {"FraDato": "2026-03-02", "FravaerstimerPrUge": "18.50"}
    with pytest.raises(ActRefused, match="`Hoved` is missing"):
        element(SendOpdateringFravaerRequest, {"OpdateringID": ID, "DelvisPeriode": [period]})
    assert element(DelvisPeriodeType, period).FravaerstimerPrUge == Decimal("18.50")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"Nonsense": 1}, "`Nonsense` is not an element here"),
        ({"DelvisPeriode": {}}, "`DelvisPeriode` repeats"),
        ({"DelvisPeriode": ["x"]}, "has parts"),
        ({"DelvisPeriode": [{"FraDato": "x"}]}, r"`DelvisPeriode\[1\]/FraDato`"),
        ({"Overgang": 3}, "`Overgang` has parts"),
        ({"Opdateringstype": [1]}, r"`Opdateringstype\[1\]`"),
    ],
)
def test_a_wrong_element_is_named_by_its_place(given, place):
    """The place is a path of the message."""
    with pytest.raises(ActRefused, match=place):
        element(SendOpdateringFravaerRequest, given)


def test_known_parts_cannot_be_given():
    """What the act fills in itself is no field."""
    with pytest.raises(ActRefused, match="`Type` is not an element here"):
        element(OvergangType, {"Type": "x"}, Type="FLEKSJOB", Dato=date(2026, 3, 2))


def test_what_comes_out_is_plain_and_masked():
    """No number of a person leaves through an act; what is absent is left out."""
    made = element(OvergangType, {"Type": "FLEKSJOB", "Dato": "2026-03-02"})
    assert plain(made) == {"Type": "FLEKSJOB", "Dato": "2026-03-02"}
    assert plain(
        {"n": Cpr.parse("0101505006"), "t": datetime(2026, 3, 2, 9, tzinfo=UTC), "l": [UUID(ID), 1.5, None]}
    ) == {
        "n": "**********",
        "t": "2026-03-02T09:00:00+00:00",
        "l": [ID, 1.5, None],
    }
    assert plain(OvergangType) == str(OvergangType)
