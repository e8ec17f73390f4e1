# SPDX-License-Identifier: MPL-2.0
"""The fields of an act, taken one by one: JSON at the door, typed values behind it. A wrong one is named, not shown."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from sygefravaer.contract.messages import SygefravaerssagType
from sygefravaer.errors import ActRefused
from sygefravaer.ksd import pictures

Json = dict[str, Any]
"""A JSON object, as it goes through the control door."""

ScalarT = TypeVar("ScalarT")
EnumT = TypeVar("EnumT", bound=StrEnum)


class Fields:
    """What an act was given; `done` refuses what nobody took."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)

    def take(self, name: str, kind: type[ScalarT]) -> ScalarT:
        """Take a field that must be there."""
        value = self.find(name, kind)
        if value is None:
            raise ActRefused("FieldMissing", f"{name} is missing.")
        return value

    def find(self, name: str, kind: type[ScalarT]) -> ScalarT | None:
        """Take a field that may be absent or null."""
        value = self._given.pop(name, None)
        return None if value is None else pictures.scalar(value, kind, name)

    def choice(self, name: str, choices: type[EnumT]) -> EnumT | None:
        """Take a field that is one of a few words."""
        value = self.find(name, str)
        if value is None:
            return None
        if value not in list(choices):
            raise ActRefused("FieldWrong", f"{name}: one of {', '.join(choices)} was wanted.")
        return choices(value)

    def number(self, name: str, default: int, *, most: int) -> int:
        """Take a whole number from 0 to `most`."""
        value = self.find(name, int)
        if value is None:
            return default
        if not 0 <= value <= most:
            raise ActRefused("FieldWrong", f"{name}: a whole number from 0 to {most} was wanted.")
        return value

    def list(self, name: str, kind: type[ScalarT]) -> tuple[ScalarT, ...] | None:
        """Take a list; absent or null is None."""
        value = self._given.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, list):
            raise ActRefused("FieldWrong", f"{name}: a list was wanted.")
        return tuple(pictures.scalar(each, kind, f"{name}[{index}]") for index, each in enumerate(value))

    def objects(self, name: str) -> tuple[Json, ...]:
        """Take a list of objects; absent or null is empty."""
        value = self._given.pop(name, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise ActRefused("FieldWrong", f"{name}: a list of objects was wanted.")
        return tuple(value)

    def picture(self) -> Json:
        """Take the fields spelled with a capital letter: those of Sygefravaerssag, as on the wire."""
        names = [name for name in self._given if name[:1].isupper()]
        return pictures.fields_of_json(SygefravaerssagType, {name: self._given.pop(name) for name in names})

    def done(self) -> None:
        """Refuse fields that the act does not know."""
        if self._given:
            raise ActRefused("FieldUnknown", f"The act does not know {', '.join(sorted(self._given))[:200]}.")
