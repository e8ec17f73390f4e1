# SPDX-License-Identifier: MPL-2.0
"""Fields of acts, and the acts that are the same in every part."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest

from sygefravaer import errors
from sygefravaer.clock import MovableClock, SystemClock
from sygefravaer.contract.values import Cpr
from sygefravaer.control import Fields, chaos_act, clock_act, head, offered
from sygefravaer.endpoint import Chaos
from sygefravaer.errors import ActRefused, FieldRefused, Refused

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
        (Decimal, "3.5", Decimal("3.5")),
        (Cpr, "0101505006", Cpr.parse("0101505006")),
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
        (float, "4.4"),
        (float, True),
        (UUID, "not one"),
        (UUID, 7),
        (date, "someday"),
        (datetime, "2026-03-02T10:00:00"),
        (datetime, 5),
        (Decimal, "four"),
        (Decimal, True),
        (Cpr, 5),
    ],
)
def test_a_wrong_field_is_named_and_never_shown(kind, given):
    """The refusal says which field and what was wanted; the value is nobody's business."""
    with pytest.raises(FieldRefused) as caught:
        Fields({"f": given}).take("f", kind)
    assert caught.value.code == "FieldWrong"
    assert caught.value.detail.startswith("`f` is wrong: ")
    assert str(given) not in caught.value.detail.partition(": ")[2].replace("true or false", "").replace(
        "2026-03-02", ""
    )


def test_a_personal_number_has_a_form():
    """A number that nobody can have is refused as the contract refuses it."""
    with pytest.raises(Refused) as caught:
        Fields({"f": "9999999999"}).find("f", Cpr)
    assert caught.value.code == "G007"


def test_fields_are_taken_one_by_one():
    """Absent and null are the same; what nobody took is refused by name."""
    given = Fields({"a": "x", "b": None, "c": [1, 2], "d": [{}], "n": 3, "s": "red", "rest": 1})
    assert (given.take("a", str), given.find("b", str), given.list("c", int)) == ("x", None, (1, 2))
    assert (given.objects("d"), given.number("n", 1, most=3), given.choice("s", Colour)) == (({},), 3, Colour.RED)
    assert (given.list("e", int), given.objects("e"), given.number("e", 7, most=9)) == (None, (), 7)
    assert given.choice("e", Colour) is None
    with pytest.raises(FieldRefused, match="rest") as caught:
        given.done()
    assert caught.value.code == "FieldUnknown"


@pytest.mark.parametrize(
    "take",
    [
        lambda given: given.take("text", int),
        lambda given: given.choice("text", Colour),
        lambda given: given.number("minus", 1, most=3),
        lambda given: given.list("text", str),
        lambda given: given.list("list", str),
        lambda given: given.objects("list"),
        lambda given: given.objects("text"),
    ],
)
def test_a_field_of_another_kind_is_refused(take):
    """Named, and told what was wanted."""
    with pytest.raises(FieldRefused, match="wanted") as caught:
        take(Fields({"text": "x", "minus": -1, "list": [1]}))
    assert caught.value.code == "FieldWrong"


def test_a_field_that_must_be_there():
    """Null is not there."""
    with pytest.raises(FieldRefused, match="`f` is missing") as caught:
        Fields({"f": None}).take("f", str)
    assert caught.value.code == "FieldMissing"


def test_wire_fields_are_those_with_a_capital():
    """They are taken together, and the rest is left."""
    fields = Fields({"Overgang": {}, "sags_id": ID})
    assert fields.wire() == {"Overgang": {}}
    assert fields.find("sags_id", UUID)
    fields.done()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Conflict(), "Taken"),
        (FieldRefused("FieldWrong", "x"), "FieldWrong"),
        (errors.UsageError("ClockBackwards", "x"), "ClockBackwards"),
        (Refused("G007", "x"), "G007"),
        (errors.SchemaValidationFailed(), "SchemaValidationFailed"),
        (ActRefused("NoSuchCase"), "NoSuchCase"),
    ],
)
async def test_what_our_rooms_refuse_is_the_doors_refusal(error, code):
    """Every part says it in the same way."""

    async def refuse(_):
        raise error

    with pytest.raises(ActRefused) as caught:
        await offered({"refuse": refuse})["refuse"]({})
    assert caught.value.code == code


async def test_a_clock_is_told_and_moved():
    """Forward only, by seconds or to an instant; who is moved is told; the machine's clock stays."""
    moves = []
    clock = MovableClock(datetime(2026, 3, 2, 9, tzinfo=UTC), running=False)
    act = offered({"clock": clock_act(clock, lambda: moves.append(1))})["clock"]
    assert await act({}) == {"now": "2026-03-02T09:00:00+00:00"}
    assert moves == []
    assert await act({"advance": 60}) == {"now": "2026-03-02T09:01:00+00:00"}
    assert await act({"now": "2026-03-02T11:00:00+01:00"}) == {"now": "2026-03-02T10:00:00+00:00"}
    assert moves == [1, 1]
    wrong = [({"advance": -1}, "ClockBackwards"), ({"advance": 1e300}, "FieldWrong"), ({"later": 1}, "FieldUnknown")]
    for fields, code in wrong:
        with pytest.raises(ActRefused) as caught:
            await act(fields)
        assert caught.value.code == code
    fixed = offered({"clock": clock_act(SystemClock())})["clock"]
    with pytest.raises(ActRefused, match="nobody moves"):
        await fixed({"advance": 1})
    assert head("ksd", "KSD", clock).keys() == {"part", "name", "state", "version", "now"}


async def test_faults_are_asked_for_and_ended():
    """What is not given stays; all is told; codes must be of one list; `reset` ends everything."""
    chaos = Chaos()
    act = offered({"chaos": chaos_act(chaos)})["chaos"]
    none = {"answer_late": 0.0, "close_after_apply": 0, "refuse_connections": False, "swapped_code": []}
    assert await act({}) == none
    some = {"answer_late": 2.5, "close_after_apply": 3, "swapped_code": ["ANMELDT", "LOEBENDE"]}
    assert await act(some) == none | some
    assert await act({"refuse_connections": True}) == none | some | {"refuse_connections": True}
    assert chaos.swapped(b"<a>ANMELDT</a><b>LOEBENDE</b>") == b"<a>LOEBENDE</a><b>ANMELDT</b>"
    for wrong in (["P29"], ["P29", "B101"], ["P29", "P28", "P29"], ["x", "y"], "P29"):
        with pytest.raises(ActRefused, match="swapped_code"):
            await act({"swapped_code": wrong})
    assert (await act({"answer_late": 1e9}))["answer_late"] == 3600
    assert await act({"reset": True}) == none
    assert chaos.swapped(b"<a>ANMELDT</a>") == b"<a>ANMELDT</a>"
