# SPDX-License-Identifier: MPL-2.0
"""
When a story begins: T, so that its turning point lies where the calendar has something special. Pure.

The years are such that both schemes that can follow an end come up: jobafklaring, and from 2027 the reduced rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from sygefravaer.errors import UsageError
from sygefravaer.law import at, danish_date
from sygefravaer.sandbox.scenarios import days
from sygefravaer.sandbox.scenarios.reading import Scenario, malformed


class Clock(StrEnum):
    """What calendar the interesting time of a scenario is laid over."""

    PLAIN = "plain"
    OCTOBER = "october"
    LEAP = "leap"
    NEW_YEAR = "newyear"


PLAIN: Final = date(2025, 3, 3)
OVER: Final[Mapping[Clock, date]] = {
    Clock.OCTOBER: date(2022, 10, 30),  # the hour from two to three comes twice
    Clock.LEAP: date(2024, 2, 29),
    Clock.NEW_YEAR: date(2025, 12, 31),
}


def start_of(scenario: Scenario, clock: Clock) -> date:
    """Say which day T is, so that the scenario's turning point lies where the clock has something special."""
    if scenario.start is not None:
        return scenario.start
    over = OVER.get(clock)
    if over is None:
        return PLAIN

    def named(name: str) -> date:
        if name != "T":
            raise days.Unreadable("only T is known before the first step")
        return PLAIN

    try:
        turn = days.instant(scenario.turn, named, at(PLAIN, 0))
    except days.Unreadable as error:
        raise malformed(f"{scenario.name}, turn", str(error)) from error
    return over - (danish_date(turn) - PLAIN)


def first_day(scenario: Scenario, today: date, *, wished: date | None = None) -> date:
    """
    Say which day T is in a sandbox where it is `today`: the day that is wished for, the scenario's own, or tomorrow.

    Raises `UsageError` for a day that is past, and for a scenario that wants a stage of its own.
    """
    first = wished or scenario.start or today + timedelta(days=1)
    if scenario.alone or first <= today:
        raise UsageError(
            "ScenarioUnfit",
            f"{scenario.name} counts all that there is, so it wants a stage of its own."
            if scenario.alone
            else f"{scenario.name} begins on {first}, and in the sandbox it is {today} already.",
            try_this="Play it without --dir.",
        )
    return first


def first_instant(start: date) -> datetime:
    """Say at which instant a stage for a scenario begins: as T begins."""
    return at(start, 0)
