# SPDX-License-Identifier: MPL-2.0
"""
The fields of an act: JSON to typed values and back, at the control door only.

Payload of a message is spelled as on the wire (`{"Visitationskategori": "2"}`), so it is read by the type hints of
the message's own class. A wrong field is named with what was wanted, never shown. A personal number goes in, and comes
out masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from sygefravaer.contract.messages import Element
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import ActRefused, Refused

Json = dict[str, Any]
"""A JSON object, as it goes through the control door."""

T = TypeVar("T")
ElementT = TypeVar("ElementT", bound=Element)
EnumT = TypeVar("EnumT", bound=StrEnum)


class Fields:
    """The fields of one act, taken one by one; `done` refuses what nobody took."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)

    def take(self, name: str, kind: type[T]) -> T:
        """Take a field that must be there."""
        value = self.find(name, kind)
        if value is None:
            raise ActRefused("FieldMissing", f"The field `{name}` is missing; {_WANTED[kind]} was wanted.")
        return value

    def find(self, name: str, kind: type[T]) -> T | None:
        """Take a field that may be absent or null."""
        value = self._given.pop(name, None)
        return None if value is None else _value(value, kind, name)

    def choice(self, name: str, choices: type[EnumT]) -> EnumT | None:
        """Take a field that is one of a few words."""
        text = self.find(name, str)
        if text is None:
            return None
        if text not in list(choices):
            raise ActRefused("FieldWrong", f"The field `{name}` must be one of: {', '.join(choices)}.")
        return choices(text)

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of texts; absent is empty."""
        value = self._given.pop(name, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ActRefused("FieldWrong", f"The field `{name}` must be a list of strings.")
        return tuple(value)

    def pair(self, name: str) -> tuple[str, ...] | None:
        """Take a list of two texts, or of none; absent is None."""
        if self._given.get(name) is None:
            return None
        found = self.texts(name)
        if len(found) not in {0, 2}:
            raise ActRefused("FieldWrong", f"The field `{name}` must be a list of two strings, or of none.")
        return found

    def wire(self) -> Json:
        """Take all fields that are spelled as on the wire, that is with a capital letter."""
        found = {name: value for name, value in self._given.items() if name[:1].isupper()}
        for name in found:
            del self._given[name]
        return found

    def done(self) -> None:
        """Refuse fields that the act does not know."""
        if self._given:
            raise ActRefused("FieldUnknown", f"The act does not know: {', '.join(sorted(self._given))}.")


def element(cls: type[ElementT], given: Mapping[str, Any], place: str = "", **known: object) -> ElementT:
    """Make a message or a part of one from JSON; `known` are the fields that the caller has already."""
    hints = get_type_hints(cls)
    values: Json = dict(known)
    for name, value in given.items():
        if name not in hints or name in known:
            raise ActRefused("FieldUnknown", f"`{place}{name}` is not an element here.")
        if value is not None:
            values[name] = _child(hints[name], value, f"{place}{name}")
    for spec in fields(cls):  # type: ignore[arg-type]  # every concrete Element is a dataclass
        if spec.default is MISSING and spec.name not in values:
            raise ActRefused("FieldMissing", f"`{place}{spec.name}` is missing.")
    return cls(**values)


def plain(value: object) -> Any:
    """Make JSON of a value of the contract or of ours: absent elements left out, personal numbers masked."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((spec.name, getattr(value, spec.name)) for spec in fields(value))
        return {name: plain(each) for name, each in pairs if each is not None and each != ()}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def _child(hint: Any, value: Any, place: str) -> Any:
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ActRefused("FieldWrong", f"`{place}` repeats: a list was wanted.")
        kind = get_args(hint)[0]
        return tuple(_child(kind, each, f"{place}[{number}]") for number, each in enumerate(value, start=1))
    kind = get_args(hint)[0] if isinstance(hint, UnionType) else hint
    if issubclass(kind, Element):
        if not isinstance(value, dict):
            raise ActRefused("FieldWrong", f"`{place}` has parts: an object was wanted.")
        return element(kind, value, f"{place}/")
    return _value(value, kind, place)


def _value(value: Any, kind: type[T], place: str) -> T:
    try:
        return _READ[kind](value)  # type: ignore[no-any-return]
    except (ValueError, TypeError, AttributeError, InvalidOperation, Refused) as error:
        raise ActRefused("FieldWrong", f"The field `{place}` is wrong: {_WANTED[kind]} was wanted.") from error


def _exactly(kind: type[T]) -> Callable[[Any], T]:
    def read(value: Any) -> T:
        if type(value) is not kind:
            raise TypeError
        return value

    return read


def _time(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


_READ: Final[Mapping[Any, Callable[[Any], Any]]] = {
    str: _exactly(str),
    bool: _exactly(bool),
    int: _exactly(int),
    float: _number,
    UUID: UUID,
    date: date.fromisoformat,
    datetime: _time,
    Decimal: lambda value: Decimal(str(value)),
    Cpr: Cpr.parse,
    dict: _exactly(dict),
}
_WANTED: Final[Mapping[Any, str]] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    UUID: "a UUID",
    date: "a date (2026-03-02)",
    datetime: "a time with offset (2026-03-02T09:00:00+01:00)",
    Decimal: "a decimal number",
    Cpr: "a personal number of ten digits",
    dict: "an object",
}
