# SPDX-License-Identifier: MPL-2.0
"""
What is looked at: for each code list some facets, each a driver that plays a code over the wire and says what is seen.

A facet belongs to a side (the scene it plays on) and has a table of what should be seen of each of its codes.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from codes import texts
from sygefravaer.cli import calling
from sygefravaer.contract.messages import Element

SIDES = ("reading", "ksd", "jobcenter", "gateway", "time", "later")
PATIENCE = 10.0  # seconds for one look; more than any takes that ends well

Look = Callable[[SimpleNamespace, str], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Facet:
    """One way to look at the codes of a list."""

    codes: str
    name: str
    side: str
    expected: Mapping[str, object]
    look: Look

    def __str__(self) -> str:
        """Name it for a report."""
        return f"{self.codes}: {self.name} ({self.side})"


FACETS: list[Facet] = []


def facet(codes: str, name: str, expected: Mapping[str, object]) -> Callable[[Look], Look]:
    """Register a driver; its side is the module it stands in."""

    def register(look: Look) -> Look:
        side = look.__module__.rpartition(".")[2].removesuffix("_side")
        FACETS.append(Facet(codes=codes, name=name, side=side, expected=expected, look=look))
        return look

    return register


def load(sides: Iterable[str] = SIDES) -> list[Facet]:
    """Give every facet of these sides."""
    for side in sides:
        importlib.import_module(f"codes.{side}_side")
    return FACETS


def lists() -> Mapping[str, tuple[str, ...]]:
    """Give every list and its codes, as the domain has them."""
    return {
        **{name: tuple(codes) for name, codes in texts.SAID.items()},
        "fejlkoder": tuple(texts.ERRORS),
        "kommuner": tuple(texts.MUNICIPALITIES),
    }


async def findings(
    stage: Any, wanted: Iterable[tuple[Facet, str]], *, first: bool = False
) -> list[tuple[str, str, str, object]]:
    """Look at these facets of these codes, a scene for each side in the order they come.

    Gives what is not as it should be, as (list, facet, code, what was seen). `first`: stop at the first of them.
    """
    found: list[tuple[str, str, str, object]] = []
    by_side: dict[str, list[tuple[Facet, str]]] = {}
    for one, kode in wanted:
        by_side.setdefault(one.side, []).append((one, kode))
    for side, looks in by_side.items():
        async with stage.scene(side) as it:
            for one, kode in looks:
                seen = await _seen(it, one, kode)
                if seen != one.expected[kode]:
                    found.append((one.codes, one.name, kode, seen))
                    if first:
                        return found
    return found


async def _seen(it: SimpleNamespace, one: Facet, kode: str) -> object:
    try:
        async with asyncio.timeout(PATIENCE):
            return await one.look(it, kode)
    except Exception as error:  # noqa: BLE001  whatever it is, the code has not had its effect
        return f"{type(error).__name__}: {error}"


def of(codes: str, kodes: Iterable[str] | None = None, *, sides: Iterable[str] = SIDES) -> list[tuple[Facet, str]]:
    """List the facets of a list with these codes (all of them, unless some are named), in the order of the sides."""
    chosen = lists()[codes] if kodes is None else tuple(kodes)
    return [
        (one, kode)
        for side in sides
        for one in load(sides)
        if one.codes == codes and one.side == side
        for kode in chosen
        if kode in one.expected
    ]


def meaning(message: Element, kode: str, name: str = "") -> str:
    """Give what a message that came over the wire shows after this code (of an element) when written for reading."""
    text = calling.as_text(calling.Answered(element=b"", value=message, refused=False))
    found = re.search(rf"{name}: {re.escape(kode)} \((.*)\)$", text, re.MULTILINE)
    return found.group(1) if found else f"no {kode}"


def meanings(codes: str) -> dict[str, str]:
    """Give what should be shown after each code of a list: text, group and follow-on."""
    if codes == "kommuner":
        return {kode: name for kode, (name, _) in texts.MUNICIPALITIES.items()}
    shown = {}
    for kode, (text, _, _, group, follow_on) in texts.SAID[codes].items():
        told = (text, f"group {group}" if group else "", f"follow-on {follow_on}" if follow_on else "")
        shown[kode] = "; ".join(one for one in told if one)
    return shown


def error_text(kode: str) -> str:
    """Give the FejlTekst that should stand beside a FejlKode."""
    mnemonic, text, _, _ = texts.ERRORS[kode]
    return f"{mnemonic}: {text}"
