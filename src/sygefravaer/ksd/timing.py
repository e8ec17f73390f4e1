# SPDX-License-Identifier: MPL-2.0
"""
What KSD does with a case by itself, and when. Pure: what is known of a case in, what comes next out.

A day's work begins at six in the morning in Denmark; a reminder goes when the day of its deadline has passed. Silence
is nowhere here: a request that nobody answers is reminded of, and payment runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sygefravaer.contract.codes import LISTS, Code
from sygefravaer.contract.messages import ForlaengelseType, SygefravaerssagType
from sygefravaer.ksd.changes import too_few_hours
from sygefravaer.ksd.lifecycle import OPEN, RUNNING, State
from sygefravaer.ksd.rules import RequestStatus
from sygefravaer.law import NEVER, Law, Norm, at, danish_date, day_after, end_of_day, working_day

MORNING: Final = 6
"""The hour at which a day's work begins, Danish time."""


class Act(StrEnum):
    """What KSD can do by itself."""

    FORM = "the oplysningsskema comes back (s. 11)"
    PAY = "the employer period is over (s. 30)"
    ASK = "asks for an extension (s. 24(1), 25, 27)"
    REMIND = "reminds of a request"
    ASK_AGAIN = "asks once more, since the first answer settled nothing"
    DECIDE = "decides after a refusal (s. 24(2), 27(3))"
    END_STOPPED = "ends what was stopped (s. 21)"
    END_PARTIAL = "ends what has too few hours of absence a week (s. 53)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """A request for extension that is open, or answered and not decided."""

    anmodning_id: UUID
    status: RequestStatus
    kind: str
    review: date
    deadline: date
    reminders: int
    refusal: str | None
    answered_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """What KSD is set to do by itself."""

    asks: bool = True
    """Ask for extensions and remind of them."""
    decides_after: int | None = 7
    """Days after a refusal (and four weeks after a stop) until KSD has decided; `None`: a person decides."""
    form_after: int | None = None
    """Days after its opening at which a case's oplysningsskema comes back; `None`: by hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What decides on what comes next."""

    picture: SygefravaerssagType
    state: State
    opened_at: datetime
    stopped_on: date | None
    live: Sequence[Live] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """One thing that KSD will do, unless something comes in between."""

    at: datetime
    act: Act
    anmodning_id: UUID | None = None


def coming(known: Known, habits: Habits, law: Law) -> list[Due]:
    """List what KSD will do with a case by itself, the earliest first."""
    return sorted(_coming(known, habits, law), key=lambda due: (due.at, due.act))


def review_of(picture: SygefravaerssagType) -> date | None:
    """Say after which day payment would end: that of the last extension, else the RevurderingsDato; `None` for none."""
    review = picture.Forlaengelse[-1].TilDato if picture.Forlaengelse else picture.RevurderingsDato
    return None if review is None or review >= NEVER else review


def first_paid(picture: SygefravaerssagType, law: Law) -> date:
    """Say from which day the municipality pays, by the case's Sagsart."""
    wait = LISTS["sagsarter"].get(picture.Sagsart).extra["foersteBetalt"]
    first = picture.FoersteFravaersdag
    return first + timedelta(days=law.number(Norm(wait), first)) if wait else first


def answer_deadline(asked_on: date, review: date, law: Law) -> date:
    """Give the Svarfrist: 14 days before payment would end, but not before five working days after the request."""
    before = review - timedelta(days=law.number(Norm.ANSWER_BEFORE, asked_on))
    return max(before, working_day(asked_on, law.number(Norm.ANSWER_LEAST, asked_on)))


def ending_of(refusal: str, granted: Sequence[ForlaengelseType]) -> str | None:
    """Give the Afslutningsaarsag that a refusal leads to, of a first review or of a renewal; `None`: a person says."""
    return _refusal(refusal).extra["afslutFornyet" if granted else "afslutFoerste"] or None


def decided_on(refusal: str, *, review: date, decision: date) -> date:
    """Say from which day a refusal ends payment: never before the decision (75-15), nor a time limit before its day."""
    return max(decision, review) if _refusal(refusal).extra["uarbejdsdygtig"] == "ja" else decision


ANEW: Final = frozenset({"NY_ANMODNING", "OPRETTET_SENDES_IGEN"})
"""`foelge` of the refusals after which KSD asks once more: they say nothing about the citizen."""


def _coming(known: Known, habits: Habits, law: Law) -> Iterator[Due]:
    picture, state = known.picture, known.state
    if state is State.ANMELDT and habits.form_after is not None and picture.OplysningsskemaModtaget is None:
        yield Due(act=Act.FORM, at=at(danish_date(known.opened_at) + timedelta(days=habits.form_after), MORNING))
    if state in RUNNING and picture.FoersteBeregningsdag is None:
        yield Due(act=Act.PAY, at=at(first_paid(picture, law), MORNING))
    if state is State.STANDSET and known.stopped_on is not None and habits.decides_after is not None:
        last = known.stopped_on + timedelta(weeks=law.number(Norm.STOP_WEEKS, known.stopped_on))
        yield Due(act=Act.END_STOPPED, at=at(day_after(last), MORNING))
    if state in OPEN and (since := too_few_hours(picture, law)) is not None:
        yield Due(act=Act.END_PARTIAL, at=at(since, MORNING))
    for live in known.live:
        yield from _of_request(live, picture, habits, law)
    review = review_of(picture)
    if habits.asks and review is not None and not known.live and state in RUNNING | {State.REVURDERING}:
        lead = timedelta(weeks=law.number(Norm.ASK_LEAD, picture.FoersteFravaersdag))
        yield Due(act=Act.ASK, at=at(review - lead, MORNING))


def _of_request(live: Live, picture: SygefravaerssagType, habits: Habits, law: Law) -> Iterator[Due]:
    if live.status is RequestStatus.OPEN:
        most, every = law.number(Norm.REMINDERS, live.deadline), law.number(Norm.REMIND_EVERY, live.deadline)
        if habits.asks and live.reminders < most and live.deadline < NEVER:
            passed = end_of_day(live.deadline + timedelta(days=every * live.reminders))
            yield Due(act=Act.REMIND, at=passed, anmodning_id=live.anmodning_id)
        return
    if live.refusal is None or live.answered_at is None:
        return
    answered = danish_date(live.answered_at)
    if _refusal(live.refusal).extra["foelge"] in ANEW:
        if habits.asks:
            again = answered + timedelta(days=law.number(Norm.ASK_AGAIN, answered))
            yield Due(act=Act.ASK_AGAIN, at=at(again, MORNING), anmodning_id=live.anmodning_id)
    elif ending_of(live.refusal, picture.Forlaengelse) is not None and habits.decides_after is not None:
        decision = answered + timedelta(days=habits.decides_after)
        on = decided_on(live.refusal, review=live.review, decision=decision)
        yield Due(act=Act.DECIDE, at=at(on, MORNING), anmodning_id=live.anmodning_id)


def _refusal(kode: str) -> Code:
    return LISTS["afvisningsaarsager"].get(kode)
