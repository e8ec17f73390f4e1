# SPDX-License-Identifier: MPL-2.0
"""
Which element holds a code of which list, and what people are shown of it.

The schema's own types say which: an element whose type is an enumeration holds a code of the list of that type. One
whose type is Kommunekode holds a municipality.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Final

from lxml import etree

from sygefravaer.contract import package
from sygefravaer.contract.codes import FEJLKODER, LISTS, Code
from sygefravaer.contract.messages import Element
from sygefravaer.contract.names import CODE_LISTS, MSG_FILES, NS_XSD
from sygefravaer.contract.values import MUNICIPALITIES, municipality_by_code

MUNICIPALITY_LIST: Final = "kommuner"
ERROR_LIST: Final = "fejlkoder"
GROUP: Final = "gruppe"
FOLLOW_ON: Final = "foelge"

_XS: Final = f"{{{NS_XSD}}}"
_LIST_OF_TYPE: Final[Mapping[str, str]] = {
    **{name: file.removesuffix(".csv") for name, file in CODE_LISTS.items()},
    "KommunekodeType": MUNICIPALITY_LIST,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A code list as people see it: its columns, and a row of texts for each code."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def list_of(cls: type[Element], name: str) -> str | None:
    """Name the list that an element of a type of the contract holds a code of; `None` when it holds none."""
    return _elements().get((cls.__name__, name))


def explained(list_name: str, kode: str) -> str:
    """Say what a code means: its text, its group and what follows on it; nothing for one that the list has not."""
    if list_name == MUNICIPALITY_LIST:
        municipality = municipality_by_code(kode)
        return "" if municipality is None else municipality.navn
    codes = LISTS[list_name]
    if kode not in codes:
        return ""
    code = codes.get(kode)
    told = (("group", code.extra.get(GROUP)), ("follow-on", code.extra.get(FOLLOW_ON)))
    return "; ".join((code.tekst, *(f"{name} {value}" for name, value in told if value)))


def list_names() -> tuple[str, ...]:
    """Name every list, those of the schema first."""
    return (*LISTS, ERROR_LIST, MUNICIPALITY_LIST)


def shown(list_name: str, *, on: date | None = None) -> Shown:
    """Give a list as people see it, only with the codes that may be used on a day if one is named.

    Raises `KeyError` for a list that there is not.
    """
    if list_name == ERROR_LIST:
        columns: tuple[str, ...] = ("kode", "mnemonic", "tekst", "hvem", "paaTraaden")
        return Shown(name=list_name, columns=columns, rows=tuple(_errors()))
    if list_name == MUNICIPALITY_LIST:
        found = ((each.kommunekode, each.navn, each.cvr.text) for each in MUNICIPALITIES.values())
        return Shown(name=list_name, columns=("kommunekode", "navn", "cvr"), rows=tuple(found))
    codes = tuple(LISTS[list_name])
    own = tuple(codes[0].extra)
    return Shown(
        name=list_name,
        columns=("kode", "tekst", "gyldigFra", "gyldigTil", "erstattesAf", *own),
        rows=tuple(_row(code) for code in codes if on is None or code.valid(on)),
    )


def _errors() -> Iterator[tuple[str, ...]]:
    for row in FEJLKODER.values():
        yield row.kode, row.mnemonic, row.tekst, "; ".join(row.hvem), "ja" if row.paaTraaden else "nej"


def _row(code: Code) -> tuple[str, ...]:
    days = ("" if day is None else day.isoformat() for day in (code.gyldigFra, code.gyldigTil))
    return (code.kode, code.tekst, *days, code.erstattesAf or "", *code.extra.values())


@cache
def _elements() -> Mapping[tuple[str, str], str]:
    """Read from the schemas which element of which type holds codes; a request type goes by its element's name."""
    found = {}
    for path in _schema_files():
        root = etree.parse(package.ROOT / path).getroot()
        named = {_local(each.get("type", "")): each.get("name", "") for each in root.findall(f"{_XS}element")}
        for kind in root.findall(f"{_XS}complexType"):
            name = kind.get("name", "")
            owner = named.get(name, name) if name.endswith(("RequestType", "ResponseType")) else name
            for element in kind.iter(f"{_XS}element"):
                codes = _LIST_OF_TYPE.get(_local(element.get("type", "")))
                if codes is not None:
                    found[owner, element.get("name", "")] = codes
    return found


def _schema_files() -> Iterator[str]:
    for path in sorted({file.partition("/")[0] for file in MSG_FILES.values()}):
        yield from sorted(str(each.relative_to(package.ROOT)) for each in (package.ROOT / path).rglob("*.xsd"))


def _local(name: str) -> str:
    return name.rpartition(":")[2]
