# SPDX-License-Identifier: MPL-2.0
"""
How long: weeks that count towards the time limit (s. 24 and 25), and days that are left of an extension's code (s. 27).

The time limit: payment is reviewed at the end of the month in which more than 22 weeks within the last 9 calendar
months are passed (s. 24(1)); for pensioners 26 weeks within 12 (s. 25(1)). What does not count: the employer period (or
the first weeks of the self-employed and the unemployed), and absence that is maternity's. Reduced benefit counts fully.
A citizen's cases count together, a day once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import ForlaengelseType
from sygefravaer.law.calendar import day_after, month_end, months_after, months_before
from sygefravaer.law.norms import Law, Norm

WEEK: Final = 7
HIGHEST_WEEKS: Final = Decimal("999.9")  # what the wire's type can hold
_DAY: Final = timedelta(days=1)
_LONGEST_LOOK: Final = 240  # months; a spell that passes no limit in twenty years never will


@dataclass(frozen=True, kw_only=True, slots=True)
class Spell:
    """The absence of one case: its first day, its last (`None`: it goes on), and how its days count."""

    first: date
    last: date | None
    sagsart: str
    fravaerstype: str
    without: tuple[tuple[date, date], ...] = ()
    """Times within it in which nothing was paid, first and last day."""

    def counted(self, law: Law, until: date) -> Iterable[tuple[date, date]]:
        """Give the stretches of days up to `until` that count."""
        if LISTS["fravaerstyper"].get(self.fravaerstype).extra["medregnes"] == "nej":
            return
        wait = LISTS["sagsarter"].get(self.sagsart).extra["ikkeMedregnet"]
        start = self.first + timedelta(days=law.number(Norm(wait), self.first) if wait else 0)
        last = until if self.last is None else min(self.last, until)
        for first_off, last_off in sorted(self.without):
            if start < first_off:
                yield start, min(last, first_off - _DAY)
            start = max(start, day_after(last_off))
        if start <= last:
            yield start, last


def counted_days(law: Law, spells: Iterable[Spell], *, first: date, last: date) -> int:
    """Count the days from `first` to `last`, both included, that count towards the time limit; each day once."""
    total, reached = 0, first - _DAY
    for start, end in sorted(stretch for spell in spells for stretch in spell.counted(law, last)):
        begin = max(start, day_after(reached))
        if begin <= end:
            total += (end - begin).days + 1
            reached = end
    return total


def weeks(law: Law, spells: Sequence[Spell], on: date, *, pensioner: bool = False) -> Decimal:
    """Say how many weeks are used on a day, within the calendar months that count then."""
    first = months_before(on, law.number(_window(pensioner=pensioner), on))
    days = counted_days(law, spells, first=first, last=on)
    return min(HIGHEST_WEEKS, round(Decimal(days) / WEEK, 1))


def review_date(law: Law, spells: Sequence[Spell], *, after: date, pensioner: bool = False) -> date | None:
    """
    Give the first month end from `after` on at which the limit is passed; `None` when it never is as things stand.

    A spell without a last day is taken to go on.
    """
    end = month_end(after)
    for _ in range(_LONGEST_LOOK):
        limit = law.number(Norm.PENSIONER_WEEKS if pensioner else Norm.REVIEW_WEEKS, end) * WEEK
        first = months_before(end, law.number(_window(pensioner=pensioner), end))
        if counted_days(law, spells, first=first, last=end) > limit:
            return end
        if end.year == date.max.year:
            break
        end = month_end(end + _DAY)
    return None


def days_left(kode: str, granted: Iterable[ForlaengelseType], *, first: date) -> int | None:
    """
    Say how many days an extension by this code may have that begins on `first`; `None` when the code has no maximum.

    The maximum is cumulative per code: what was granted by it before counts. It is `maksUger` or `maksMaaneder` of the
    code list. Zero or less: it is used up.
    """
    code = LISTS["forlaengelseskoder"].get(kode)
    used = sum(
        ((each.TilDato or first - _DAY) - each.FraDato).days + 1 for each in granted if each.Forlaengelseskode == kode
    )
    if code.extra["maksUger"]:
        return int(code.extra["maksUger"]) * WEEK - used
    if code.extra["maksMaaneder"]:
        return (months_after(first, int(code.extra["maksMaaneder"])) - first).days - used
    return None


def _window(*, pensioner: bool) -> Norm:
    return Norm.PENSIONER_WINDOW if pensioner else Norm.REVIEW_WINDOW
