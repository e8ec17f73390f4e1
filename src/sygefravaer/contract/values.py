# SPDX-License-Identifier: MPL-2.0
"""
Values of the contract: personal numbers, company numbers, municipalities. Parsed on the way in, masked when printed.

A `Cpr` never shows itself: only `reveal()` gives the digits, so one search finds every place that uses them. A `Cvr`
is public and prints as it is.

Sources: the pattern is that of STAR's public schemas (the date part is checked, 29 February always stands, and
`0000000000` means required but unknown); cpr.dk for substitute numbers and for numbers without modulus 11, which are
fully valid; Erhvervsstyrelsen for the check sum of CVR numbers.
"""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final, NoReturn, Self

from sygefravaer.errors import Refused

MASK: Final = "**********"

_UNKNOWN: Final = "0000000000"
_FORM: Final = re.compile(
    r"(?:(?:0[1-9]|[12][0-9]|3[01])(?:01|03|05|07|08|10|12)"
    r"|(?:0[1-9]|[12][0-9]|30)(?:04|06|09|11)"
    r"|(?:0[1-9]|[12][0-9])02)[0-9]{6}"
)
_IN_WORDS: Final = re.compile(r"(?<![0-9])[0-9]{6}[- ]?[0-9]{4}(?![0-9])")
# The first digit of the day in a substitute number, and what it was before it was raised by 6 (cpr.dk).
_RAISED: Final[Mapping[str, str]] = {"6": "0", "7": "1", "8": "2", "9": "3"}

# Years 37-57 with seventh digit 5-8 mean born 2037-2057: nobody yet, so these serve as test numbers.
_SYNTHETIC_YEARS: Final = frozenset(f"{year}" for year in range(37, 58))
_SYNTHETIC_SEVENTH: Final = frozenset("5678")
SYNTHETIC_UNTIL: Final = 2037
"""The year in which the first real person may get a number that is synthetic today."""

_CVR_FORM: Final = re.compile(r"[0-9]{8}")
_CVR_WEIGHTS: Final = (2, 7, 6, 5, 4, 3, 2, 1)
_CVR_MODULUS: Final = 11


class Cpr:
    """A personal number as it came: immutable, equal by its digits, masked wherever it is printed.

    `Cpr.parse` judges the form, `Cpr.of_wire` keeps whatever a valid message may hold (at most ten characters).
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    @classmethod
    def parse(cls, text: str, place: str = "CprNummer") -> Self:
        """Read a number in right form; `Refused` G007 at `place` for any other."""
        return cls(text).check(place)

    @classmethod
    def of_wire(cls, text: str) -> Self:
        """Keep what stands in a message, whatever its form: that is a rule, judged later."""
        return cls(text)

    def check(self, place: str = "CprNummer") -> Self:
        """Give itself when the form is right; `Refused` G007 at `place` otherwise."""
        if not self.well_formed:
            raise Refused("G007", place)
        return self

    @property
    def well_formed(self) -> bool:
        """Say whether it has STAR's form, also with the day raised by 60; modulus 11 is no criterion."""
        return self.unknown or _FORM.fullmatch(self._lowered()) is not None

    @property
    def unknown(self) -> bool:
        """Say whether it stands for a person whose number is not known."""
        return self._text == _UNKNOWN

    @property
    def substitute(self) -> bool:
        """Say whether it is a substitute number: well formed once 60 is taken from its day."""
        return self._text[:1] in _RAISED and self.well_formed

    @property
    def synthetic(self) -> bool:
        """Say whether it is a test number, which nobody can have before 2037."""
        text = self._text
        return text[4:6] in _SYNTHETIC_YEARS and text[6:7] in _SYNTHETIC_SEVENTH and self.well_formed

    def reveal(self) -> str:
        """Give the digits: for the wire, for sealing and for the keyed hash, never for a log or an error."""
        return self._text

    def _lowered(self) -> str:
        text = self._text
        return _RAISED.get(text[:1], text[:1]) + text[1:]

    def __eq__(self, other: object) -> bool:
        """Compare the digits."""
        return self._text == other._text if isinstance(other, Cpr) else NotImplemented

    def __hash__(self) -> int:
        """Hash the digits."""
        return hash(self._text)

    def __repr__(self) -> str:
        """Show that it is a number, and no digit of it."""
        return f"Cpr({MASK})"

    def __str__(self) -> str:
        """Show the mask."""
        return MASK

    def __format__(self, spec: str) -> str:
        """Show the mask."""
        return format(MASK, spec)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse."""
        raise AttributeError("a Cpr does not change")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse."""
        raise AttributeError("a Cpr does not change")

    def __copy__(self) -> Self:
        """Give itself: it does not change."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Give itself: it does not change."""
        return self

    def __reduce__(self) -> tuple[Callable[[str], "Cpr"], tuple[str]]:
        """Be made anew from its text."""
        return (Cpr, (self._text,))


def masked(text: str) -> str:
    """Mask what may be a personal number in words that somebody wrote, with or without a hyphen or space in it."""
    return _IN_WORDS.sub(MASK, text)


@dataclass(frozen=True, slots=True)
class Cvr:
    """A company number: eight digits with a correct check sum. Public, so it prints as it is."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a number; `ValueError` when form or check sum is wrong."""
        if not cls.valid(text):
            raise ValueError("not a CVR number")
        return cls(text)

    @staticmethod
    def valid(text: str) -> bool:
        """Say whether `text` is eight digits whose weighted sum is a multiple of eleven."""
        if _CVR_FORM.fullmatch(text) is None:
            return False
        return sum(int(digit) * weight for digit, weight in zip(text, _CVR_WEIGHTS, strict=True)) % _CVR_MODULUS == 0

    def __str__(self) -> str:
        """Show the digits."""
        return self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Municipality:
    """One of the 98 municipalities."""

    kommunekode: str
    """Four digits."""
    navn: str
    cvr: Cvr


def _municipalities() -> Mapping[str, Municipality]:
    data = resources.files("sygefravaer.contract").joinpath("data/kommuner.csv")
    rows = csv.DictReader(data.read_text(encoding="utf-8").splitlines())
    return MappingProxyType(
        {
            row["cvr"]: Municipality(kommunekode=row["kommunekode"], navn=row["navn"], cvr=Cvr.parse(row["cvr"]))
            for row in rows
        },
    )


MUNICIPALITIES: Final[Mapping[str, Municipality]] = _municipalities()
"""Every municipality by the text of its CVR number. Source: KOMBIT's public list (SF1520 v4.0)."""

_BY_CODE: Final[Mapping[str, Municipality]] = {each.kommunekode: each for each in MUNICIPALITIES.values()}


def municipality_name(cvr: str) -> str:
    """Name a municipality for people; one that is none is called by its number."""
    return MUNICIPALITIES[cvr].navn if cvr in MUNICIPALITIES else cvr


def municipality_by_code(code: str) -> Municipality | None:
    """Find a municipality by its code of four digits; `None` when there is none."""
    return _BY_CODE.get(code)
