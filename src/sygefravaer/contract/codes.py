# SPDX-License-Identifier: MPL-2.0
"""
The dated code lists and the table of FejlKode, read once from `data/`.

A list holds every code that ever was valid: the schema knows them all, and whether one may be used is a question of a
date. So an old message can be read for ever, and next year's law is a row in a file.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sygefravaer.contract.names import CODE_LISTS
from sygefravaer.errors import UsageError

_DATA: Final = resources.files("sygefravaer.contract").joinpath("data")
_COMMON: Final = frozenset({"kode", "tekst", "gyldigFra", "gyldigTil", "erstattesAf"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """One code of a list, spelled as on the wire, with the days it may be used on."""

    kode: str
    tekst: str
    """What it means, in Danish, for a screen."""
    gyldigFra: date | None = None  # noqa: N815  the data file's column
    """First day; `None` has no beginning."""
    gyldigTil: date | None = None  # noqa: N815  the data file's column
    """Last day; `None` has no end."""
    erstattesAf: str | None = None  # noqa: N815  the data file's column
    extra: Mapping[str, str] = field(compare=False)
    """The list's own columns, such as `maksUger` of the extension codes; empty text when nothing is said."""

    def valid(self, on: date) -> bool:
        """Say whether the code may be used on this day."""
        return (self.gyldigFra is None or self.gyldigFra <= on) and (self.gyldigTil is None or on <= self.gyldigTil)


class CodeList:
    """A code list in the order of its file; asks about a code it does not hold raise `KeyError`."""

    __slots__ = ("_codes", "name")

    def __init__(self, name: str, codes: tuple[Code, ...]) -> None:
        self.name = name
        self._codes = {code.kode: code for code in codes}
        if len(self._codes) != len(codes):
            raise ValueError(f"the code list {name} holds a code twice")

    def get(self, kode: str) -> Code:
        """Give the code's row; `KeyError` without the text that was asked for, as it may come from a message."""
        code = self._codes.get(kode)
        if code is None:
            raise KeyError(f"no such code in {self.name}")
        return code

    def valid(self, kode: str, on: date) -> bool:
        """Say whether the code is in the list and may be used on this day."""
        code = self._codes.get(kode)
        return code is not None and code.valid(on)

    def valid_codes(self, on: date) -> tuple[Code, ...]:
        """List the codes that may be used on this day."""
        return tuple(code for code in self if code.valid(on))

    def __iter__(self) -> Iterator[Code]:
        """Go through the codes in the order of the file."""
        return iter(self._codes.values())

    def __len__(self) -> int:
        """Count the codes."""
        return len(self._codes)

    def __contains__(self, kode: object) -> bool:
        """Say whether the list holds the code, on whatever day."""
        return kode in self._codes


@dataclass(frozen=True, kw_only=True, slots=True)
class FejlKode:
    """A reason for a refusal or a remark."""

    kode: str
    mnemonic: str
    tekst: str
    """A Danish sentence."""
    hvem: tuple[str, ...]
    """The parts that give it: gateway, ksd, jobcenter."""
    paaTraaden: bool  # noqa: N815  the data file's column
    """Whether it may stand in a message; one that may not stands only in a part's own record."""


def fejl(code: str) -> FejlKode:
    """Give the row of a FejlKode; `KeyError` when the contract has none of that name."""
    return FEJLKODER[code]


def fejl_text(code: str) -> str:
    """Give the FejlTekst of a FejlKode: its mnemonic, a colon and a Danish sentence."""
    row = FEJLKODER[code]
    return f"{row.mnemonic}: {row.tekst}"


def read(file: Traversable, name: str) -> CodeList:
    """Read a code list from a file with the columns kode, tekst, gyldigFra, gyldigTil, erstattesAf and its own."""
    return CodeList(
        name,
        tuple(
            Code(
                kode=row["kode"],
                tekst=row["tekst"],
                gyldigFra=_day(row["gyldigFra"]),
                gyldigTil=_day(row["gyldigTil"]),
                erstattesAf=row["erstattesAf"] or None,
                extra=MappingProxyType({column: text for column, text in row.items() if column not in _COMMON}),
            )
            for row in _rows(file)
        ),
    )


def _rows(file: Traversable) -> Iterator[dict[str, str]]:
    return iter(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


_LISTS: Final = {
    file.removesuffix(".csv"): read(_DATA.joinpath(file), file.removesuffix(".csv")) for file in CODE_LISTS.values()
}
LISTS: Final[Mapping[str, CodeList]] = MappingProxyType(_LISTS)
"""Every code list, by the name of its file."""


def replace_unverified(path: Path) -> None:
    """
    Put an operator's better knowledge in the place of what is unverified in the code lists.

    The file is CSV with the columns liste, kode, kolonne, vaerdi: one cell of one row each. Only rows whose `sikkerhed`
    is unverified can be changed, and neither their code nor their text. Others read the lists when they are imported,
    so it is done first of all. Raises UsageError `CodesUnreadable` or `CodesFixed`.
    """
    try:
        changes = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for change in changes:
            name, kode = change["liste"], change["kode"]
            _LISTS[name] = _changed(_LISTS[name], kode, change["kolonne"], change["vaerdi"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "CodesUnreadable",
            f"{path} is not a file of changes to code lists.",
            try_this="Give a CSV file with the columns liste, kode, kolonne, vaerdi, and names that the lists have.",
        ) from error


def _changed(codes: CodeList, kode: str, column: str, value: str) -> CodeList:
    row = codes.get(kode)
    if row.extra.get("sikkerhed") != "unverified":
        raise UsageError(
            "CodesFixed",
            f"The row of {codes.name} that is to be changed is not unverified.",
            try_this="Change only rows whose sikkerhed is unverified; docs/domain/codes.md lists them.",
        )
    if column in {"gyldigFra", "gyldigTil"}:
        row = replace(row, **{column: _day(value)})  # type: ignore[arg-type]  # these two are days
    elif column in row.extra and column != "sikkerhed":
        row = replace(row, extra=MappingProxyType({**row.extra, column: value}))
    else:
        raise KeyError(column)
    return CodeList(codes.name, tuple(row if each.kode == kode else each for each in codes))


FEJLKODER: Final[Mapping[str, FejlKode]] = MappingProxyType(
    {
        row["kode"]: FejlKode(
            kode=row["kode"],
            mnemonic=row["mnemonic"],
            tekst=row["tekst"],
            hvem=tuple(row["hvem"].split(";")),
            paaTraaden=row["paaTraaden"] == "ja",
        )
        for row in _rows(_DATA.joinpath("fejlkoder.csv"))
    },
)
"""Every FejlKode, by its code."""
