# SPDX-License-Identifier: MPL-2.0
"""
Days and hours as a story says them. Pure.

    T+33d 09:00             so long after a day with a name: T is the first day of absence
    svarfrist+7d            the days of the case: `review`, `svarfrist`, `extension end`
    next Wednesday          the first one after today
    Friday of that week     that day of today's week
    week end of moved       the Sunday of a day's week
    month end of T+26w      the last day of a day's month
    now+10s                 from this instant: s, min, h

Offsets are d (days) and w (weeks), as many as are wanted, from left to right. An hour is Danish; nine in the morning
where none is said. A name may be a path into what an earlier step gave: `sag.sags_id`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sygefravaer.law import DENMARK, danish_date, end_of_week, month_end

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MORNING: Final = time(9)
UNITS: Final = {"s": timedelta(seconds=1), "min": timedelta(minutes=1), "h": timedelta(hours=1)}

_TIMED: Final = re.compile(r"(?P<day>.*\S)\s+(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)")
_OFFSETS: Final = re.compile(r"(?P<base>.*?)\s*(?P<offsets>(?:[+-]\s*\d+[dw]\s*)+)")
_OFFSET: Final = re.compile(r"([+-])\s*(\d+)([dw])")
_FROM_NOW: Final = re.compile(r"now(?:\+(\d+)(s|min|h))?")
_NEXT: Final = re.compile(r"next (\w+)", re.IGNORECASE)
_OF_WEEK: Final = re.compile(r"(\w+) of that week", re.IGNORECASE)
_ENDS: Final = {"week end of ": end_of_week, "month end of ": month_end}
_TODAYS: Final[Mapping[str, Callable[[date], date]]] = {"today": lambda day: day, "week end": end_of_week}

Named = Callable[[str], Any]
"""What a name or a path means; raises `Unreadable` when it means nothing."""


class Unreadable(ValueError):
    """Says what cannot be read, for whoever wrote it."""


def instant(text: str, named: Named, now: datetime) -> datetime:
    """Read when something happens."""
    if found := _FROM_NOW.fullmatch(text):
        return now + (int(found[1]) * UNITS[found[2]] if found[1] else timedelta())
    timed = _TIMED.fullmatch(text)
    day = _day(timed["day"] if timed else text, named, now)
    at = time(int(timed["hour"]), int(timed["minute"])) if timed else MORNING
    return datetime.combine(day, at, DENMARK).astimezone(UTC)


def value(text: str, named: Named, now: datetime) -> Any:
    """Read what stands after a `$`: a day or an instant, as ISO 8601 has it, or what a name means."""
    if _FROM_NOW.fullmatch(text):
        return instant(text, named, now).isoformat()
    if _TIMED.fullmatch(text):
        return instant(text, named, now).astimezone(DENMARK).isoformat()
    if _is_day(text):
        return _day(text, named, now).isoformat()
    return named(text)


def _is_day(text: str) -> bool:
    words = (_OFFSETS, _NEXT, _OF_WEEK)
    return text in _TODAYS or any(word.fullmatch(text) for word in words) or text.startswith(tuple(_ENDS))


def _day(text: str, named: Named, now: datetime) -> date:
    today = danish_date(now)
    for start, end in _ENDS.items():
        if text.startswith(start):
            return end(_day(text.removeprefix(start), named, now))
    if found := _OFFSETS.fullmatch(text):
        day = _day(found["base"], named, now)
        for sign, number, unit in _OFFSET.findall(found["offsets"]):
            by = timedelta(weeks=int(number)) if unit == "w" else timedelta(days=int(number))
            day = day + by if sign == "+" else day - by
        return day
    if text in _TODAYS:
        return _TODAYS[text](today)
    if found := _NEXT.fullmatch(text):
        return today + timedelta(days=(_weekday(found[1]) - today.weekday() - 1) % 7 + 1)
    if found := _OF_WEEK.fullmatch(text):
        return today + timedelta(days=_weekday(found[1]) - today.weekday())
    return _named_day(text, named)


def _named_day(text: str, named: Named) -> date:
    given = named(text)
    try:
        return given if isinstance(given, date) else date.fromisoformat(str(given)[:10])
    except ValueError as error:
        raise Unreadable(f"`{text}` is no day") from error


def _weekday(name: str) -> int:
    if name.lower() not in WEEKDAYS:
        raise Unreadable(f"`{name}` is no day of the week")
    return WEEKDAYS.index(name.lower())
