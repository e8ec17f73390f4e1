# SPDX-License-Identifier: MPL-2.0
"""Danish days: which day an instant belongs to, when a day begins, which days are worked on."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import holidays

DENMARK: Final = ZoneInfo("Europe/Copenhagen")
NEVER: Final = date(9000, 1, 1)
"""Some write a day from here on for "no end"; nothing is counted from it."""

SATURDAY: Final = 5
BANK_DAYS: Final = ((6, 5), (12, 24), (12, 31))
"""Constitution Day, Christmas Eve, New Year's Eve: no public holidays by law, and no working days."""


def danish_date(instant: datetime) -> date:
    """Give the day it is in Denmark at this instant; a time without a zone is taken as UTC."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    try:
        return aware.astimezone(DENMARK).date()
    except OverflowError:  # the last evening of the year 9999: the day after it has no name
        return aware.date()


def at(day: date, hour: int) -> datetime:
    """Give the instant, in UTC, at which it is this full hour of this day in Denmark."""
    return datetime.combine(day, time(hour), tzinfo=DENMARK).astimezone(UTC)


def end_of_day(day: date) -> datetime:
    """Give the instant at which a day ends in Denmark: the first one of the next day."""
    return at(day_after(day), 0)


def day_after(day: date) -> date:
    """Give the day after; the last day of the calendar, which some write for "no end", is its own."""
    return day if day == date.max else day + timedelta(days=1)


def end_of_week(day: date) -> date:
    """Give the Sunday of the day's week."""
    return day + timedelta(days=6 - day.weekday())


def month_end(day: date) -> date:
    """Give the last day of the day's month."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def months_before(day: date, months: int) -> date:
    """Give the first day of the so many calendar months that end with the day's own month."""
    month = day.year * 12 + day.month - months  # counted from 0 in the month after
    return date(month // 12, month % 12 + 1, 1)


def months_after(day: date, months: int) -> date:
    """Give the same day so many months later; where that month is too short, its last day."""
    month = day.year * 12 + day.month - 1 + months
    last = month_end(date(month // 12, month % 12 + 1, 1))
    return last.replace(day=min(day.day, last.day))


def is_working_day(day: date) -> bool:
    """Say whether it is a Danish working day."""
    return day.weekday() < SATURDAY and day not in _days_off(day.year)


def working_day(start: date, days: int) -> date:
    """Give the day that lies so many Danish working days after `start`."""
    day = start
    while days:
        day += timedelta(days=1)
        days -= is_working_day(day)
    return day


def last_working_day(until: date) -> date:
    """Give the last Danish working day that is not after a day."""
    day = until
    while not is_working_day(day):
        day -= timedelta(days=1)
    return day


@cache
def _days_off(year: int) -> frozenset[date]:
    public = holidays.country_holidays("DK", years=year)
    return frozenset({*public, *(date(year, month, day) for month, day in BANK_DAYS)})
