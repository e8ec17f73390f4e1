# SPDX-License-Identifier: MPL-2.0
"""
What was true of a case on a day, as it was known at an instant. Pure.

`HentSag` with `InkluderHistorik` gives for every version from which day it is true (`HaendelsesDato`) and when it was
registered (`RegistreretTidspunkt`); `HentSag` with `SagsVersion` gives its picture. From these both truths can be had:
the life of the case, and what somebody could know of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime

from sygefravaer.contract.messages import HaendelseType, SygefravaerssagType


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A version of a case: from which day it is true, when it was registered, and its picture."""

    version: int
    on: date
    known: datetime
    picture: SygefravaerssagType


def versions(haendelser: Iterable[HaendelseType], pictures: Mapping[int, SygefravaerssagType]) -> list[Told]:
    """Join the history of HentSag with the pictures of the versions, by SagsVersion."""
    return [
        Told(
            version=each.SagsVersion,
            on=each.HaendelsesDato,
            known=each.RegistreretTidspunkt,
            picture=pictures[each.SagsVersion],
        )
        for each in haendelser
        if each.SagsVersion in pictures
    ]


def as_known(told: Iterable[Told], *, on: date, known: datetime) -> SygefravaerssagType | None:
    """
    Give the case as it was on a day, by what had been registered at an instant; `None` when it was no case then.

    Each version says what it changed from the one before, and from which day: what a later version says of a field
    holds from that version's day on, and says nothing of the time before it. SagsVersion and SenestAendret are those
    of the last version that holds.
    """
    heard = sorted((each for each in told if each.known <= known), key=lambda each: each.version)
    if not any(each.on <= on for each in heard):
        return None
    first, *later = heard
    picture, before = first.picture, first.picture
    for each in later:
        if each.on <= on:
            changed = {
                field.name: getattr(each.picture, field.name)
                for field in fields(each.picture)
                if getattr(each.picture, field.name) != getattr(before, field.name)
            }
            picture = replace(picture, **changed)
        before = each.picture
    return picture
