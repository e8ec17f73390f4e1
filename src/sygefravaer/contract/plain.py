# SPDX-License-Identifier: MPL-2.0
"""
The plain form of what is said: JSON values for the values of the contract, for control doors and the command line.

Names are the wire's, dates and times ISO 8601, decimals text; what is absent is left out. Personal numbers come out
masked unless asked for. What goes in is judged by the type hints of the class: a wrong field is named with what was
wanted, never shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from sygefravaer.contract.coded import list_of
from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import Element, ForlaengelseType, SygefravaerssagType
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import FieldRefused

Json = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class _Field:
    """What the contract says of a field: its type, whether it repeats or may be absent, and the list of its code."""

    kind: type[Any]
    many: bool
    optional: bool
    codes: str | None


ElementT = TypeVar("ElementT", bound=Element)
ScalarT = TypeVar("ScalarT")

LONGEST_NAME: Final = 60  # characters of an unknown name that are told

_OF_A_CASE: Final = (SygefravaerssagType, ForlaengelseType)
"""Whose codes are judged: a case is kept and told on as it is given. Those of a message are for the schema to judge."""

_WANTED: Final[Mapping[type, str]] = {
    str: "a text",
    UUID: "a UUID",
    Cpr: "a personal number of ten digits",
    date: "a date (2026-03-02)",
    datetime: "a time with an offset (2026-03-02T09:00:00+01:00)",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Decimal: "a decimal number, as text or number",
}


def to_plain(value: object, *, reveal: bool = False) -> Any:
    """Give a value of the contract, or of ours, as JSON has it; personal numbers only with `reveal`, else masked."""
    if is_dataclass(value) and not isinstance(value, type):
        found = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: to_plain(each, reveal=reveal) for name, each in found if each is not None and each != ()}
    if isinstance(value, Mapping):
        return {str(name): to_plain(each, reveal=reveal) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(each, reveal=reveal) for each in value]
    if isinstance(value, Cpr):
        return value.reveal() if reveal else str(value)
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    return value if isinstance(value, bool | int | float | None) else str(value)


def of_plain(cls: type[ElementT], given: Mapping[str, object], place: str = "", **known: object) -> ElementT:
    """Make a value of the contract; `known` are the fields that the caller has already and nobody else may give.

    Raises `FieldRefused`.
    """
    for name in given:
        if name in known:
            raise FieldRefused("FieldUnknown", f"`{place}{name}` is filled in here and cannot be given.")
    values = known | fields_of_plain(cls, given, place)
    for field in fields(cls):  # type: ignore[arg-type]  # every concrete Element is a dataclass
        if field.name not in values and field.default is MISSING:
            raise FieldRefused("FieldMissing", f"`{place}{field.name}` is missing.")
    return cls(**values)


def fields_of_plain(cls: type[Element], given: Mapping[str, object], place: str = "") -> Json:
    """Make the fields of a value of the contract that are given; null clears one. Raises `FieldRefused`."""
    known = _fields(cls)  # type: ignore[arg-type]  # a class is hashable
    for name in given:
        if name not in known:
            raise FieldRefused("FieldUnknown", f"`{place}{name[:LONGEST_NAME]}` is no field of {cls.__name__}.")
    return {name: _value(given[name], known[name], f"{place}{name}") for name in given}


def scalar(given: object, kind: type[ScalarT], place: str) -> ScalarT:
    """Make a value of a simple type: text, number, truth value, date, time, UUID, personal number.

    Raises `FieldRefused`. A personal number of any form is taken: a wrong form is for the rules to judge.
    """
    try:
        return cast("ScalarT", _scalar(given, kind))
    except (ValueError, ArithmeticError, TypeError) as error:
        raise FieldRefused("FieldWrong", f"`{place}` is wrong: {_WANTED[kind]} was wanted.") from error


@cache
def _fields(cls: type[Element]) -> Mapping[str, _Field]:
    found = {}
    for name, hint in get_type_hints(cls).items():
        if name == "NAMESPACE":
            continue
        many, optional = get_origin(hint) is tuple, isinstance(hint, UnionType)
        kind = get_args(hint)[0] if many or optional else hint
        codes = list_of(cls, name) if cls in _OF_A_CASE else None
        found[name] = _Field(kind, many, optional, codes if codes in LISTS else None)
    return found


def _value(given: object, field: _Field, place: str) -> object:
    if field.many:
        if not isinstance(given, list):
            raise FieldRefused("FieldWrong", f"`{place}` repeats: a list was wanted.")
        return tuple(_one(each, field, f"{place}[{index}]") for index, each in enumerate(given))
    if given is None and field.optional:
        return None
    return _one(given, field, place)


def _one(given: object, field: _Field, place: str) -> object:
    if issubclass(field.kind, Element):
        if not isinstance(given, dict):
            raise FieldRefused("FieldWrong", f"`{place}` has parts: an object was wanted.")
        return of_plain(field.kind, given, f"{place}/")
    value = scalar(given, field.kind, place)
    if field.codes is not None and value not in LISTS[field.codes]:
        raise FieldRefused("FieldWrong", f"`{place}` is wrong: a code of the list {field.codes} was wanted.")
    return value


def _scalar(given: object, kind: type[Any]) -> object:
    if kind in (bool, int):
        if type(given) is not kind:
            raise TypeError
        return given
    if kind in (Decimal, float) and isinstance(given, int | float) and not isinstance(given, bool):
        return kind(str(given))
    if not isinstance(given, str) or kind is float:
        raise TypeError
    if kind is datetime:
        found = datetime.fromisoformat(given)
        if found.tzinfo is None:
            raise ValueError
        return found
    if kind is date:
        return date.fromisoformat(given)
    return Cpr.of_wire(given) if kind is Cpr else cast("object", kind(given))
