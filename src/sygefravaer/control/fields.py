# SPDX-License-Identifier: MPL-2.0
"""The fields of an act, taken one by one: JSON at the door, typed values behind it. A wrong one is named, not shown."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from sygefravaer.contract.plain import Json, scalar
from sygefravaer.contract.values import Cpr
from sygefravaer.errors import FieldRefused

ScalarT = TypeVar("ScalarT")
EnumT = TypeVar("EnumT", bound=StrEnum)


class Fields:
    """What an act was given; `done` refuses what nobody took. Every refusal is a `FieldRefused`."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)

    def take(self, name: str, kind: type[ScalarT]) -> ScalarT:
        """Take a field that must be there."""
        value = self.find(name, kind)
        if value is None:
            raise FieldRefused("FieldMissing", f"`{name}` is missing.")
        return value

    def find(self, name: str, kind: type[ScalarT]) -> ScalarT | None:
        """Take a field that may be absent or null; a personal number of a wrong form is `Refused` G007."""
        value = self._given.pop(name, None)
        if value is None:
            return None
        found = scalar(value, kind, name)
        if isinstance(found, Cpr):
            found.check(name)
        return found

    def choice(self, name: str, choices: type[EnumT]) -> EnumT | None:
        """Take a field that is one of a few words."""
        value = self.find(name, str)
        if value is None:
            return None
        if value not in list(choices):
            raise FieldRefused("FieldWrong", f"`{name}` is wrong: one of {', '.join(choices)} was wanted.")
        return choices(value)

    def number(self, name: str, default: int, *, most: int) -> int:
        """Take a whole number from 0 to `most`."""
        value = self.find(name, int)
        if value is None:
            return default
        if not 0 <= value <= most:
            raise FieldRefused("FieldWrong", f"`{name}` is wrong: a whole number from 0 to {most} was wanted.")
        return value

    def list(self, name: str, kind: type[ScalarT]) -> tuple[ScalarT, ...] | None:
        """Take a list; absent or null is None."""
        value = self._given.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, list):
            raise FieldRefused("FieldWrong", f"`{name}` is wrong: a list was wanted.")
        return tuple(scalar(each, kind, f"{name}[{index}]") for index, each in enumerate(value))

    def objects(self, name: str) -> tuple[Json, ...]:
        """Take a list of objects; absent or null is empty."""
        value = self._given.pop(name, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise FieldRefused("FieldWrong", f"`{name}` is wrong: a list of objects was wanted.")
        return tuple(value)

    def wire(self) -> Json:
        """Take, as they are, all fields spelled with a capital letter: elements of a message, as on the wire."""
        return {name: self._given.pop(name) for name in list(self._given) if name[:1].isupper()}

    def all(self) -> Json:
        """Take everything as it is, to be taken apart later."""
        given, self._given = self._given, {}
        return given

    def done(self) -> None:
        """Refuse fields that the act does not know."""
        if self._given:
            raise FieldRefused("FieldUnknown", f"The act does not know {', '.join(sorted(self._given))[:200]}.")
