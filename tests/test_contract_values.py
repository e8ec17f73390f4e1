# SPDX-License-Identifier: MPL-2.0
"""Values: a personal number never shows itself, a company number is right or refused."""

import copy
import json
import pickle
from dataclasses import asdict, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sygefravaer.contract.values import MUNICIPALITIES, Cpr, Cvr, municipality_by_code
from sygefravaer.errors import Refused

GOOD = "0101505012"


@pytest.mark.parametrize(
    "text",
    [
        "0101505012",
        "3101505012",
        "3112505012",
        "3004505012",
        "2902515012",  # 29 February always stands, leap year or not
        "0101500000",  # no modulus 11
        "0000000000",
        "6101505012",  # the day raised by 60
        "9101505012",
        "9004505012",
    ],
)
def test_right_forms_are_read(text):
    """STAR's pattern, with the day perhaps raised by 60, and the unknown person."""
    number = Cpr.parse(text)

    assert number.reveal() == text
    assert number.well_formed
    assert number.check() is number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "010150501",
        "01015050123",
        "0001505012",
        "3201505012",
        "3104505012",
        "3002505012",
        "0113505012",
        "0100505012",
        "6001505012",  # day 00 raised
        "9201505012",  # day 32 raised
        "9104505012",  # 31 April raised
        "4101505012",
        "010150-501",
        "0101505O12",
        "0101505012\n",
        " 0101505012",
        "٠١٠١٥٠٥٠١٢",
        "6000000000",
    ],
)
def test_wrong_forms_are_g007_at_their_place(text):
    """Anything else is refused where it stands, and the refusal does not repeat it."""
    with pytest.raises(Refused) as refused:
        Cpr.parse(text, "Hoved/CprNummer")

    assert (refused.value.code, refused.value.place) == ("G007", "Hoved/CprNummer")
    assert not text or text not in str(refused.value)
    assert not Cpr.of_wire(text).well_formed
    assert not Cpr.of_wire(text).substitute
    assert not Cpr.of_wire(text).synthetic


@pytest.mark.parametrize(
    ("text", "unknown", "substitute", "synthetic"),
    [
        ("0000000000", True, False, False),
        ("0101505012", False, False, True),
        ("0101375012", False, False, True),
        ("0101578012", False, False, True),
        ("6101505012", False, True, True),
        ("0101365012", False, False, False),
        ("0101585012", False, False, False),
        ("0101504012", False, False, False),
        ("0101509012", False, False, False),
        ("6101854012", False, True, False),
    ],
)
def test_kinds_of_number(text, unknown, substitute, synthetic):
    """Unknown, substitute and synthetic are told apart by the digits alone."""
    number = Cpr.of_wire(text)

    assert (number.unknown, number.substitute, number.synthetic) == (unknown, substitute, synthetic)


@dataclass(frozen=True)
class Holder:
    cpr: Cpr


@given(
    st.text(min_size=4, max_size=10).filter(lambda text: "*" not in text and text not in "Cpr(**********)Holder(cpr=")
)
def test_a_number_shows_itself_nowhere(text):
    """No way of printing shows a digit: text, format, representation, the holder's representation, an exception."""
    number = Cpr.of_wire(text)

    for shown in (
        str(number),
        repr(number),
        f"{number}",
        f"{number!r:>40}",
        format(number, "<30"),
        "%s" % number,  # noqa: UP031  the old way is a way too
        repr(Holder(number)),
        str(asdict(Holder(number))),
        str(ValueError(number)),
        json.dumps([number], default=str),
    ):
        assert text not in shown


def test_a_number_does_not_change():
    """It is a value: nothing can be set or deleted, and equal digits are equal."""
    number = Cpr.of_wire(GOOD)

    with pytest.raises(AttributeError):
        number._text = "0000000000"
    with pytest.raises(AttributeError):
        del number._text
    with pytest.raises(AttributeError):
        number.other = 1
    assert number == Cpr.of_wire(GOOD)
    assert hash(number) == hash(Cpr.of_wire(GOOD))
    assert number != Cpr.of_wire("0101505013")
    assert number != GOOD
    assert copy.copy(number) is number
    assert copy.deepcopy(number) is number
    assert pickle.loads(pickle.dumps(number)) == number


@pytest.mark.parametrize("text", ["29189846", "55133018", "19435075"])
def test_company_numbers_with_a_right_check_sum(text):
    """A number prints as it is."""
    assert str(Cvr.parse(text)) == Cvr.parse(text).text == text


@pytest.mark.parametrize(
    "text", ["", "2918984", "291898460", "29189847", "11111111", "2918984a", "29189846\n", "٢٩١٨٩٨٤٦"]
)
def test_company_numbers_without(text):
    """Form and check sum are judged alike; 11111111 is nobody's."""
    with pytest.raises(ValueError, match="not a CVR number"):
        Cvr.parse(text)

    assert not Cvr.valid(text)


def test_all_municipalities_are_there():
    """98, each with a right CVR number and a code of its own, found both ways."""
    assert len(MUNICIPALITIES) == len({each.kommunekode for each in MUNICIPALITIES.values()}) == 98
    assert all(cvr == each.cvr.text and Cvr.valid(cvr) for cvr, each in MUNICIPALITIES.items())
    viborg = municipality_by_code("0791")
    assert viborg is MUNICIPALITIES["29189846"]
    assert viborg.navn == "Viborg"
    assert municipality_by_code("0411") is None
