# SPDX-License-Identifier: MPL-2.0
"""
Pictures of a case in the two forms KSD has use for: the wire's, as they are stored and sent, and JSON for the door.

A stored picture is the `Sygefravaerssag` element as HentSag answers it, so an answer needs no rebuilding. In JSON the
names are the wire's, dates and times ISO 8601, decimals text; personal numbers are masked unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from sygefravaer import soap
from sygefravaer.contract import codec
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import Element, SygefravaerssagType
from sygefravaer.contract.names import CODE_LISTS, NS_SYGEFRAVAER
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import ActRefused

ElementT = TypeVar("ElementT", bound=Element)
ScalarT = TypeVar("ScalarT")

NAME: Final = "Sygefravaerssag"

_CODES: Final[Mapping[str, str]] = {
    name: CODE_LISTS[f"{name}Type"].removesuffix(".csv")
    for name in (
        *("Sagsart", "SagsTilstand", "Fravaerstype", "Beskaeftigelsesstatus", "Visitationskategori"),
        *("Forlaengelseskode", "Afslutningsaarsag"),
    )
} | {"StartSagsart": "sagsarter"}
_WANTED: Final[Mapping[type, str]] = {
    str: "a text",
    UUID: "a UUID",
    Cpr: "a personal number of ten digits",
    date: "a date (YYYY-MM-DD)",
    datetime: "a time with an offset (ISO 8601)",
    bool: "true or false",
    int: "a whole number",
    Decimal: "a decimal number, as text or number",
}


def pack(picture: SygefravaerssagType) -> bytes:
    """Write a picture as it is stored and answered."""
    return codec.encode(picture, NAME, namespace=NS_SYGEFRAVAER)


def unpack(stored: bytes) -> SygefravaerssagType:
    """Read a stored picture."""
    return codec.decode(soap.read(soap.wrap(stored)).element, SygefravaerssagType)


def to_json(value: object, *, reveal: bool = False) -> Any:
    """Give a value of the contract as JSON has it; personal numbers only with `reveal`, else masked."""
    if isinstance(value, Element):
        found = ((field.name, getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]
        return {name: to_json(each, reveal=reveal) for name, each in found if each is not None and each != ()}
    if isinstance(value, tuple):
        return [to_json(each, reveal=reveal) for each in value]
    if isinstance(value, Cpr):
        return value.reveal() if reveal else str(value)
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, bool | int | str | None) else str(value)


def of_json(cls: type[ElementT], given: Mapping[str, object], place: str = "") -> ElementT:
    """Make a value of the contract from JSON; `ActRefused` FieldWrong names what is wrong, never its value."""
    values = fields_of_json(cls, given, place)
    missing = [
        field.name
        for field in fields(cls)  # type: ignore[arg-type]  # every concrete Element is a dataclass
        if field.name not in values and field.default is MISSING
    ]
    if missing:
        raise ActRefused("FieldMissing", f"{place}{missing[0]} is missing.")
    return cls(**values)


def fields_of_json(cls: type[Element], given: Mapping[str, object], place: str = "") -> dict[str, Any]:
    """Make the fields of a value of the contract that are given; null clears one."""
    known = _types(cls)  # type: ignore[arg-type]  # a class is hashable
    for name in given:
        if name not in known:
            raise ActRefused("FieldUnknown", f"{place}{name[:60]} is no field of {cls.__name__}.")
    return {name: _value(given[name], *known[name], f"{place}{name}") for name in given}


@cache
def _types(cls: type[Element]) -> Mapping[str, tuple[type[Any], bool, bool]]:
    """Give for each field its type, whether it repeats and whether it may be absent."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        if name == "NAMESPACE":
            continue
        many, optional = get_origin(hint) is tuple, isinstance(hint, UnionType)
        found[name] = (get_args(hint)[0] if many or optional else hint, many, optional)
    return found


def _value(given: object, kind: type[Any], many: bool, optional: bool, place: str) -> object:  # noqa: FBT001
    if many:
        if not isinstance(given, list):
            raise ActRefused("FieldWrong", f"{place}: a list was wanted.")
        return tuple(_one(each, kind, f"{place}[{index}]") for index, each in enumerate(given))
    if given is None and optional:
        return None
    return _one(given, kind, place)


def _one(given: object, kind: type[Any], place: str) -> object:
    if issubclass(kind, Element):
        if not isinstance(given, dict):
            raise ActRefused("FieldWrong", f"{place}: an object was wanted.")
        return of_json(kind, given, f"{place}/")
    value = scalar(given, kind, place)
    codes = _CODES.get(place.rpartition("/")[2])
    if codes is not None and value not in LISTS[codes]:
        raise ActRefused("FieldWrong", f"{place}: a code of the list {codes} was wanted.")
    return value


def scalar(given: object, kind: type[ScalarT], place: str) -> ScalarT:
    """Make a value of one of the contract's simple types; `ActRefused` FieldWrong names the place, never the value."""
    try:
        return cast("ScalarT", _scalar(given, kind))
    except (ValueError, ArithmeticError, TypeError) as error:
        raise ActRefused("FieldWrong", f"{place}: {_WANTED[kind]} was wanted.") from error


def _scalar(given: object, kind: type[Any]) -> object:
    if kind in (bool, int):
        if type(given) is not kind:
            raise TypeError
        return given
    if kind is Decimal and isinstance(given, int | float) and not isinstance(given, bool):
        return Decimal(str(given))
    if not isinstance(given, str):
        raise TypeError
    if kind is datetime:
        found = datetime.fromisoformat(given)
        if found.tzinfo is None:
            raise ValueError
        return found
    if kind is date:
        return date.fromisoformat(given)
    return Cpr.of_wire(given) if kind is Cpr else cast("object", kind(given))
