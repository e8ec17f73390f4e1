# SPDX-License-Identifier: MPL-2.0
"""
What a jobcentre must do, and by when: facts and the law of a day in, duties out. Pure.

The law of a duty is that of the day it begins on: a follow-up is due by the law of the last one's day, a team by that
of the visitation's. Weeks and months count from the first absence day, that day included: the eighth week ends 55 days
after it. Two readings are ours: what counts as the first talk stands in the code list of follow-ups (`opfylder`) and
in the norm `first_talk_form`; and the months in which four follow-ups are wanted are counted from the first day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sygefravaer.contract.codes import LISTS
from sygefravaer.jobcenter.facts import Deed, Facts, What
from sygefravaer.jobcenter.life import TALK, TEAM, State, state_of
from sygefravaer.law import NEVER, Law, Norm, Rule, danish_date, months_after, working_day

DAY: Final = timedelta(days=1)
EARLY: Final = "early_talk"
FOLLOW_UP: Final = "follow_up"
"""Words of the column `opfylder`, beside those of `life`."""

OVER: Final = frozenset({State.AFSLUTTET, State.JOBAFKLARING})
"""States in which nothing is left to do."""
AGREED: Final = "aftalt"


class Name(StrEnum):
    """The duties; the last two are follow-ons of the list of outcomes."""

    VISITATION = "visitation"
    EARLY_TALK = "early talk"
    FIRST_TALK = "first talk"
    FOLLOW_UP = "follow-up"
    PLANNED = "planned talk"
    TEAM = "rehabiliteringsteam"
    WIDER_TEST = "wider test"
    EXTENSION = "extension answer"
    EVENT = "event answer"
    NEW_TIME = "NY_TID"
    COOPERATION = "MANGLENDE_MEDVIRKEN"


@dataclass(frozen=True, kw_only=True)
class Duty:
    """Something that must have been done by the end of a day, and who says so."""

    name: Name
    due: date
    clause: str
    ruleset: str
    confidence: str
    """How sure the law's row is: fact, inference, unverified, own."""
    subject: UUID
    """The jobcentersag; of an extension the AnmodningID, of an event its BeskedID."""
    left: int | None = None
    """How many of them are left, where a number is wanted."""
    planned_at: datetime | None = None


def duties(facts: Facts, law: Law, *, on: date) -> tuple[Duty, ...]:
    """List what is left to do on a jobcentersag as one asks on a day, the earliest first."""
    if facts.state in OVER or max(facts.first_day, facts.early_since or facts.first_day) >= NEVER:
        return ()
    found = [*_visitation(facts, law), *_wider_test(facts, law), *_follow_ons(facts, law)]
    if facts.state is not State.STANDBY:
        found += [*_team(facts, law), *_early(facts, law), *_planned(facts, law)]
        if not (facts.state is State.UDEN_OPFOELGNING and may_exempt(facts, law, on=on)):
            found += _talks(facts, law)
    return tuple(sorted(found, key=lambda duty: (duty.due, duty.name)))


def quick_until(law: Law, first_day: date) -> date:
    """Give the last day of expected recovery with which kategori 1 is right."""
    return _end_of(law.number(Norm.QUICK_WEEKS, first_day), first_day)


def kategori_for(facts: Facts, law: Law, *, on: date) -> str:
    """Say which kategori is right on a day: quick when recovery is expected in time, and is still to be expected."""
    limit = quick_until(law, facts.first_day)
    quick = facts.expected is not None and facts.expected <= limit and on < limit and not facts.quick
    wanted = State.VISITERET if quick else State.FOERSTE_OPFOELGNING
    return next(code.kode for code in LISTS["visitationskategorier"] if state_of(code.kode) is wanted)


def exempt_until(facts: Facts, law: Law, *, on: date) -> date | None:
    """
    Give the last day of expected recovery that exempts from follow-up on a day (s. 13 f); `None` when nothing does.

    Only who has a workplace is exempted. From 2025 the weeks count from the first talk, from R2026 from the first
    absence day, and no talk is needed.
    """
    if not facts.employed:
        return None
    within = law.find(Norm.EXEMPT_WITHIN, on)
    if within is not None:
        return _end_of(within.number, facts.first_day)
    after, talks = law.find(Norm.EXEMPT_AFTER_TALK, on), facts.held(TALK, law)
    return min(talks) + timedelta(weeks=after.number) if after is not None and talks else None


def may_exempt(facts: Facts, law: Law, *, on: date) -> bool:
    """Say whether the citizen may do without follow-up on a day; an expectation that has passed exempts nobody."""
    limit = exempt_until(facts, law, on=on)
    return limit is not None and facts.expected is not None and on < facts.expected <= limit


def extension_duty(law: Law, anmodning_id: UUID, svarfrist: date, *, received: date) -> Duty:
    """Say by when a request for extension is to be answered: KSD has named the day."""
    return _duty(Name.EXTENSION, law.rule(Norm.ANSWER_BEFORE, received), svarfrist, anmodning_id)


def event_duty(law: Law, besked_id: UUID, *, received: date) -> Duty:
    """Say by when an event is to have its final answer."""
    rule = law.rule(Norm.EVENT_ANSWER, received)
    return _duty(Name.EVENT, rule, working_day(received, rule.number), besked_id)


def _visitation(facts: Facts, law: Law) -> Iterator[Duty]:
    """Want a kategori; where it is 1, want another before its weeks are over: then it has run out."""
    if facts.state in {State.STANDBY, State.UDEN_OPFOELGNING} or not (facts.kategori is None or facts.quick):
        return
    rule = law.rule(Norm.QUICK_WEEKS, facts.first_day)
    yield _duty(Name.VISITATION, rule, quick_until(law, facts.first_day), facts.jobcentersag_id)


def _early(facts: Facts, law: Law) -> Iterator[Duty]:
    if facts.early_since is not None and not facts.held(EARLY, law):
        rule = law.rule(Norm.EARLY_TALK_WEEKS, facts.early_since)
        yield _duty(Name.EARLY_TALK, rule, facts.early_since + timedelta(weeks=rule.number), facts.jobcentersag_id)


def _talks(facts: Facts, law: Law) -> Iterator[Duty]:
    if facts.kategori is None or facts.quick:
        return
    if not facts.held(TALK, law):
        rule = law.rule(Norm.FIRST_TALK_WEEK, facts.first_day)
        yield _duty(Name.FIRST_TALK, rule, _end_of(rule.number, facts.first_day), facts.jobcentersag_id)
        return
    held = facts.held(FOLLOW_UP, law)
    last = max(held, default=facts.first_day)
    every = law.find(Norm.FOLLOW_UP_EVERY, last)
    if every is not None:
        yield _duty(Name.FOLLOW_UP, every, last + timedelta(weeks=every.number), facts.jobcentersag_id)
        return
    least, within = law.rule(Norm.FOLLOW_UPS_AT_LEAST, last), law.rule(Norm.FOLLOW_UPS_WITHIN, last)
    end = months_after(facts.first_day, within.number) - DAY
    left = least.number - len(held)  # one that comes late is better than none
    if left > 0:
        yield _duty(Name.FOLLOW_UP, least, end, facts.jobcentersag_id, left=left)


def _planned(facts: Facts, law: Law) -> Iterator[Duty]:
    for deed in facts.done(What.FOLLOW_UP):
        if deed.open and deed.planned_at is not None:
            day = danish_date(deed.planned_at)
            yield Duty(
                name=Name.PLANNED,
                due=day,
                clause=AGREED,
                ruleset=law.ruleset(day).kode,
                confidence="own",
                subject=facts.jobcentersag_id,
                planned_at=deed.planned_at,
            )


def _team(facts: Facts, law: Law) -> Iterator[Duty]:
    visited = facts.visited
    if visited is None or visited.kategori is None or state_of(visited.kategori) is not State.REHABTEAM:
        return
    rule = law.find(Norm.TEAM_WEEKS, visited.day)
    valid = LISTS["visitationskategorier"].valid(visited.kategori, visited.day)
    if rule is not None and valid and not any(day >= visited.day for day in facts.held(TEAM, law)):
        yield _duty(Name.TEAM, rule, visited.day + timedelta(weeks=rule.number), facts.jobcentersag_id)


def _wider_test(facts: Facts, law: Law) -> Iterator[Duty]:
    """Want the wider test at three months: noted by itself, or made at a follow-up from then on."""
    rule = law.rule(Norm.WIDER_TEST, facts.first_day)
    due = months_after(facts.first_day, rule.number)
    if not (any(facts.done(What.TEST)) or any(day >= due for day in facts.held(FOLLOW_UP, law))):
        yield _duty(Name.WIDER_TEST, rule, due, facts.jobcentersag_id)


def _follow_ons(facts: Facts, law: Law) -> Iterator[Duty]:
    """Want what the list of outcomes says follows a follow-up that did not take place, until that is done."""
    codes = LISTS["udfald"]
    for deed in facts.done(What.FOLLOW_UP):
        follow_on = codes.get(deed.outcome).extra["foelge"] if deed.outcome and deed.outcome in codes else ""
        if follow_on and not _followed(facts, Name(follow_on), deed):
            rule = law.rule(Norm.NEW_TIME, deed.day)
            yield _duty(Name(follow_on), rule, working_day(deed.day, rule.number), facts.jobcentersag_id)


def _followed(facts: Facts, name: Name, missed: Deed) -> bool:
    if name is Name.COOPERATION:
        return any(deed.day >= missed.day for deed in facts.done(What.COOPERATION))
    return any(
        (deed.held or deed.open) and deed is not missed and deed.day >= missed.day
        for deed in facts.done(What.FOLLOW_UP)
    )


def _end_of(week: int, first_day: date) -> date:
    """Give the last day of the so manieth week that is counted from a day."""
    return first_day + timedelta(weeks=week) - DAY


def _duty(name: Name, rule: Rule, due: date, subject: UUID, *, left: int | None = None) -> Duty:
    return Duty(
        name=name,
        due=due,
        clause=rule.clause,
        ruleset=rule.ruleset,
        confidence=rule.confidence,
        subject=subject,
        left=left,
    )
