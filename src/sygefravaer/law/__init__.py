# SPDX-License-Identifier: MPL-2.0
"""
What the law says, and on which days: a calendar, numbers with their first and last day, durations. Pure.

    Law, Norm, Rule   dated numbers and words, each with clause, source and confidence; the data may be replaced
    calendar          Danish days, working days, month ends, windows of months
    durations         how long an extension may last, how many weeks count towards the time limit

Both sides of the exchange judge by it, so that neither has a copy of the other's.
"""

from sygefravaer.law.calendar import (
    DENMARK,
    NEVER,
    at,
    danish_date,
    day_after,
    end_of_day,
    end_of_week,
    is_working_day,
    last_working_day,
    month_end,
    months_after,
    months_before,
    working_day,
)
from sygefravaer.law.durations import Spell, counted_days, days_left, review_date, weeks
from sygefravaer.law.norms import Law, Norm, Rule, RuleSet

__all__ = [
    "DENMARK",
    "NEVER",
    "Law",
    "Norm",
    "Rule",
    "RuleSet",
    "Spell",
    "at",
    "counted_days",
    "danish_date",
    "day_after",
    "days_left",
    "end_of_day",
    "end_of_week",
    "is_working_day",
    "last_working_day",
    "month_end",
    "months_after",
    "months_before",
    "review_date",
    "weeks",
    "working_day",
]
