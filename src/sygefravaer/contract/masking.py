# SPDX-License-Identifier: MPL-2.0
"""
A message as a person reads it: one element to a line, masked unless it is to be shown whole, and what differs.

Masked are personal numbers, what says something of a person's health by itself, names, everything that is free text,
and whatever has as many digits as a personal number; comments and processing instructions are left out, since anything
may stand in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from sygefravaer.contract.values import MASK

HIDDEN: Final = "[skjult]"
PERSONAL: Final = frozenset({"CprNummer", "TidligereCprNummer"})
TOLD: Final = frozenset(
    {"OnBehalfOfUser", "CallersServiceCallIdentifier", "AccountingInfo", "Begrundelse", "FejlTekst"}
    | {"LivstruendeSygdom", "Navn", "AkasseKode", "faultstring"}
)
"""Elements that hold free text, a name, or health data by themselves."""
DIGITS: Final = re.compile(r"\d(?:[\s.-]?\d){9}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:T[\d:.]+(?:Z|[+-]\d{2}:\d{2})?)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One line of a comparison: in both (` `), only in the first (`-`), or only in the second (`+`)."""

    sign: str
    text: str


def pretty(root: etree._Element, *, reveal: bool = False) -> list[str]:
    """Write an element, line by line; prefixes and name spaces stand as they came, if not declared around it."""
    around = root.getparent()
    return list(_lines(root, 0, {} if around is None else dict(around.nsmap), reveal=reveal))


def differences(first: Sequence[str], second: Sequence[str]) -> list[Difference]:
    """Compare two messages line by line; the lines that are in both are told, too."""
    told: list[Difference] = []
    for what, low, high, other_low, other_high in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if what == "equal":
            told += [Difference(sign=" ", text=line) for line in first[low:high]]
            continue
        told += [Difference(sign="-", text=line) for line in first[low:high]]
        told += [Difference(sign="+", text=line) for line in second[other_low:other_high]]
    return told


def masked(name: str, text: str) -> str:
    """Give the text of an element of this name as anybody may read it."""
    if not text.strip():
        return text
    if name in PERSONAL:
        return MASK
    known = _UUID.fullmatch(text.strip()) or _TIME.fullmatch(text.strip())
    return HIDDEN if name in TOLD or (not known and DIGITS.search(text)) else text


def _lines(element: etree._Element, depth: int, scope: dict[str | None, str], *, reveal: bool) -> Iterator[str]:
    if not isinstance(element.tag, str):
        if reveal:
            yield "  " * depth + etree.tostring(element, encoding="unicode", with_tail=False)
        return
    indent, tag = "  " * depth, _named(element)
    spaces = {prefix: uri for prefix, uri in element.nsmap.items() if scope.get(prefix) != uri}
    name = etree.QName(element).localname
    head = "".join(
        f" xmlns{':' + prefix if prefix else ''}={quoteattr(uri)}" for prefix, uri in sorted(spaces.items(), key=str)
    )
    for key, value in element.attrib.items():
        shown = str(value) if reveal else masked(etree.QName(str(key)).localname, str(value))
        head += f" {_attribute(element, str(key))}={quoteattr(shown)}"
    children = list(element)
    text = element.text or ""
    if not children:
        shown = text if reveal else masked(name, text)
        yield f"{indent}<{tag}{head}>{escape(shown)}</{tag}>" if shown else f"{indent}<{tag}{head}/>"
        return
    yield f"{indent}<{tag}{head}>"
    if text.strip():
        yield "  " * (depth + 1) + escape(text.strip() if reveal else HIDDEN)
    for child in children:
        yield from _lines(child, depth + 1, {**scope, **element.nsmap}, reveal=reveal)
        if child.tail and child.tail.strip():
            yield "  " * (depth + 1) + escape(child.tail.strip() if reveal else HIDDEN)
    yield f"{indent}</{tag}>"


def _named(element: etree._Element) -> str:
    name = etree.QName(element).localname
    return f"{element.prefix}:{name}" if element.prefix else name


def _attribute(element: etree._Element, key: str) -> str:
    name = etree.QName(key)
    if name.namespace is None:
        return name.localname
    prefix = next((one for one, uri in element.nsmap.items() if uri == name.namespace and one), "xml")
    return f"{prefix}:{name.localname}"
