# SPDX-License-Identifier: MPL-2.0
"""
What is known of a jobcentersag when one asks what must be done: KSD's days, and what the jobcentre did. Pure.

A deed is something that was done, planned or missed: a follow-up, a visitation, a standby. One that KSD refused as
untrue (O405 to O407) stays as a row, and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sygefravaer.contract.codes import LISTS
from sygefravaer.jobcenter.life import TALK, State, state_of
from sygefravaer.law import Law, Norm, danish_date

EMPLOYED: Final = "24"
"""STAR's kontaktgruppe of those who have a workplace; 25 is of those who have none."""


class What(StrEnum):
    """The kinds of deeds."""

    FOLLOW_UP = "follow-up"
    VISITATION = "visitation"
    STANDBY = "standby"
    EXEMPTION = "exemption"
    COOPERATION = "missing cooperation"
    TEST = "wider test"


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Something done, planned or missed on a jobcentersag; `day` is the one it counts on."""

    what: What
    day: date
    kategori: str | None = None
    kind: str | None = None
    form: str | None = None
    planned_at: datetime | None = None
    held_at: datetime | None = None
    outcome: str | None = None
    refused: bool = False
    closed: bool = False
    """Planned, and overtaken by the end of the case."""

    @property
    def held(self) -> bool:
        """Say whether it is a follow-up that took place."""
        return self.what is What.FOLLOW_UP and was_held(self.outcome, self.held_at)

    @property
    def open(self) -> bool:
        """Say whether it is a follow-up that is still to come."""
        return self.what is What.FOLLOW_UP and not (self.held or self.outcome or self.closed)

    def fulfils(self, law: Law) -> frozenset[str]:
        """Say what a held follow-up fulfils: a first talk only in the form that the law of its day wants."""
        if not self.held:
            return frozenset()
        words = fulfilled_by(self.kind)
        wanted = law.find(Norm.FIRST_TALK_FORM, self.day)
        return words - {TALK} if wanted is not None and self.form != wanted.value else words


def was_held(outcome: str | None, held_at: datetime | None) -> bool:
    """Say whether a follow-up took place: its Udfald decides, and without one that it has a time."""
    if outcome is None:
        return held_at is not None
    codes = LISTS["udfald"]
    return outcome in codes and codes.get(outcome).extra["afholdt"] == "ja"


def fulfilled_by(kind: str | None) -> frozenset[str]:
    """Give the words of what a follow-up of this Opfoelgningstype fulfils when it is held."""
    codes = LISTS["opfoelgningstyper"]
    found = codes.get(kind).extra["opfylder"] if kind is not None and kind in codes else ""
    return frozenset(found.split(";")) - {""}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A jobcentersag and its open sygedagpengesager as one asks."""

    jobcentersag_id: UUID
    state: State
    """Without regard to an assessment that interrupts it."""
    first_day: date
    known_on: date
    """The day the jobcentre heard of the oldest of its open cases."""
    expected: date | None = None
    """The latest ForventetRaskmeldingsdato."""
    early_since: date | None = None
    """The day the jobcentre heard that early follow-up was asked for."""
    employed: bool = True
    kategori: str | None = None
    deeds: tuple[Deed, ...] = ()
    """In the order of their days, of one day in the order they were noted."""

    def done(self, what: What) -> Iterator[Deed]:
        """Go through the deeds of a kind that count."""
        return (deed for deed in self.deeds if deed.what is what and not deed.refused)

    def held(self, word: str, law: Law) -> list[date]:
        """List the days of held follow-ups that fulfil this."""
        return [deed.day for deed in self.done(What.FOLLOW_UP) if word in deed.fulfils(law)]

    @property
    def visited(self) -> Deed | None:
        """Give the visitation that counts: the last one."""
        return next((deed for deed in reversed(self.deeds) if deed.what is What.VISITATION and not deed.refused), None)

    @property
    def quick(self) -> bool:
        """Say whether the citizen is expected to be well soon: the kategori says so."""
        return self.kategori is not None and state_of(self.kategori) is State.VISITERET

    def whole(self) -> Facts:
        """Take what KSD refused for done: who has been told no does not do the same again by himself."""
        everything = replace(self, deeds=tuple(replace(deed, refused=False) for deed in self.deeds))
        return replace(everything, kategori=everything.visited.kategori if everything.visited else self.kategori)


def told(
    jobcentersag_id: UUID,
    *,
    state: State,
    first_day: date,
    kategori: str | None,
    rows: Sequence[Mapping[str, Any]],
    deeds: Sequence[Deed],
) -> Facts:
    """Put the facts together; `rows` are what KSD told of the sygedagpengesager that run."""
    return Facts(
        jobcentersag_id=jobcentersag_id,
        state=state,
        first_day=first_day,
        known_on=min((danish_date(row["known_at"]) for row in rows), default=first_day),
        expected=max((row["expected"] for row in rows if row["expected"]), default=None),
        early_since=min((row["early_since"] for row in rows if row["early_since"]), default=None),
        employed=any(_employed(row["beskaeftigelse"]) for row in rows) or not rows,
        kategori=kategori,
        deeds=tuple(deeds),
    )


def _employed(status: str | None) -> bool:
    codes = LISTS["beskaeftigelsesstatusser"]
    return status is None or status not in codes or codes.get(status).extra["kontaktgruppe"] == EMPLOYED


def day_of(instant: datetime | None, otherwise: date) -> date:
    """Give the Danish day of an instant that may be absent."""
    return otherwise if instant is None else danish_date(instant)
