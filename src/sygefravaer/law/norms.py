# SPDX-License-Identifier: MPL-2.0
"""
Numbers of the law with the days they hold on.

A row of `data/norms.csv` is one norm over one time: value, unit, clause, source, and how sure it is (fact, inference,
unverified, own). `data/rulesets.csv` names the states of the law, each with its first day. What is *unverified* or our
own can be replaced by a file with the same columns: an operator who knows better need not wait for a release.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, Self

from sygefravaer.errors import UsageError

_DATA: Final = resources.files("sygefravaer.law").joinpath("data")
COLUMNS: Final = (
    *("norm", "value", "unit", "validFrom", "validTo", "ruleset", "clause", "source", "confidence", "text"),
)
REPLACEABLE: Final = frozenset({"unverified", "own"})


class Norm(StrEnum):
    """What the law, or we where it is silent, put a number or a word to; the data file says the rest."""

    REVIEW_WEEKS = "review_weeks"
    REVIEW_WINDOW = "review_window"
    PENSIONER_WEEKS = "pensioner_weeks"
    PENSIONER_WINDOW = "pensioner_window"
    EMPLOYER_PERIOD = "employer_period"
    SELF_EMPLOYED_WAIT = "self_employed_wait"
    UNEMPLOYED_WAIT = "unemployed_wait"
    PARTIAL_HOURS = "partial_hours"
    STOP_WEEKS = "stop_weeks"
    WIDER_TEST = "wider_test"
    QUICK_WEEKS = "quick_weeks"
    FIRST_TALK_WEEK = "first_talk_week"
    FIRST_TALK_FORM = "first_talk_form"
    EARLY_TALK_WEEKS = "early_talk_weeks"
    FOLLOW_UP_EVERY = "follow_up_every"
    FOLLOW_UPS_AT_LEAST = "follow_ups_at_least"
    FOLLOW_UPS_WITHIN = "follow_ups_within"
    TEAM_WEEKS = "team_weeks"
    EXEMPT_AFTER_TALK = "exempt_after_talk"
    EXEMPT_WITHIN = "exempt_within"
    UNDECIDED_SCHEME = "undecided_scheme"
    ASK_LEAD = "ask_lead"
    ANSWER_BEFORE = "answer_before"
    ANSWER_LEAST = "answer_least"
    REMIND_EVERY = "remind_every"
    REMINDERS = "reminders"
    ASK_AGAIN = "ask_again"
    EVENT_ANSWER = "event_answer"
    OPEN_WAIT = "open_wait"
    NEW_TIME = "new_time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A norm over one time."""

    norm: Norm
    value: str
    unit: str
    valid_from: date
    valid_to: date | None
    ruleset: str
    clause: str
    source: str
    confidence: str
    text: str
    """What it means, in Danish, for a screen."""

    @property
    def number(self) -> int:
        """The value of a norm that counts something."""
        return int(self.value)

    def holds(self, on: date) -> bool:
        """Say whether it holds on this day."""
        return self.valid_from <= on and (self.valid_to is None or on <= self.valid_to)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleSet:
    """A state of the law, from its first day until the next one's."""

    kode: str
    tekst: str
    valid_from: date
    source: str
    confidence: str


class Law:
    """All norms; ask for one on a day."""

    def __init__(self, rules: Iterable[Rule], rulesets: Iterable[RuleSet]) -> None:
        self._rules: dict[Norm, list[Rule]] = {norm: [] for norm in Norm}
        for rule in rules:
            self._rules[rule.norm].append(rule)
        self._rulesets = sorted(rulesets, key=lambda one: one.valid_from)

    @classmethod
    @cache
    def standard(cls) -> Self:
        """Give the law as the data files have it."""
        rows = csv.DictReader(_DATA.joinpath("rulesets.csv").read_text(encoding="utf-8").splitlines())
        rulesets = [
            RuleSet(
                kode=row["kode"],
                tekst=row["tekst"],
                valid_from=date.fromisoformat(row["validFrom"]),
                source=row["source"],
                confidence=row["confidence"],
            )
            for row in rows
        ]
        text = _DATA.joinpath("norms.csv").read_text(encoding="utf-8")
        return cls([_rule(row) for row in csv.DictReader(text.splitlines())], rulesets)

    def replaced(self, path: Path) -> Law:
        """
        Give the law with the rows of a file in the place of the same norms' rows.

        All rows of a norm that the file names are replaced. Raises UsageError `LawUnreadable` when the file is not
        one of norms, `LawFixed` when it replaces what is a fact.
        """
        try:
            rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
            given = [_rule(row) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                "LawUnreadable",
                f"{path} is not a file of norms.",
                try_this=f"Give a CSV file with the columns {', '.join(COLUMNS)}.",
            ) from error
        named = {rule.norm for rule in given}
        fixed = sorted(
            {rule.norm for norm in named for rule in self._rules[norm] if rule.confidence not in REPLACEABLE}
        )
        if fixed:
            raise UsageError(
                "LawFixed",
                f"{path} replaces {', '.join(fixed)}, which is no matter of opinion.",
                try_this="Replace only norms whose confidence is unverified or own.",
            )
        kept = [rule for norm, rules in self._rules.items() if norm not in named for rule in rules]
        return Law([*kept, *given], self._rulesets)

    def find(self, norm: Norm, on: date) -> Rule | None:
        """Give the norm as it holds on a day; `None` where the law has none then."""
        return next((rule for rule in self._rules[norm] if rule.holds(on)), None)

    def rule(self, norm: Norm, on: date) -> Rule:
        """Give the norm as it holds on a day; before its first day, as it first held. `LookupError` when it is over."""
        rule = self.find(norm, on) or next((rule for rule in self._rules[norm] if on < rule.valid_from), None)
        if rule is None:
            raise LookupError(f"{norm} does not hold on that day")
        return rule

    def number(self, norm: Norm, on: date) -> int:
        """Give the number of a norm that holds on every day; see `rule`."""
        return self.rule(norm, on).number

    def ruleset(self, on: date) -> RuleSet:
        """Give the state of the law on a day; before the first, the first."""
        return next((one for one in reversed(self._rulesets) if one.valid_from <= on), self._rulesets[0])

    def __iter__(self) -> Iterator[Rule]:
        """Go through all rows, norm by norm."""
        return (rule for rules in self._rules.values() for rule in rules)

    @property
    def rulesets(self) -> tuple[RuleSet, ...]:
        """The states of the law, the oldest first."""
        return tuple(self._rulesets)


def _rule(row: Mapping[str, str]) -> Rule:
    value = row["value"]
    if row["unit"] != "ord":
        int(value)  # a ValueError where a number is wanted
    return Rule(
        norm=Norm(row["norm"]),
        value=value,
        unit=row["unit"],
        valid_from=date.fromisoformat(row["validFrom"]),
        valid_to=date.fromisoformat(row["validTo"]) if row["validTo"] else None,
        ruleset=row["ruleset"],
        clause=row["clause"],
        source=row["source"],
        confidence=row["confidence"],
        text=row["text"],
    )
