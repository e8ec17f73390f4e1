# SPDX-License-Identifier: MPL-2.0
"""
What a jobcentre does in its own cases by itself: the next step, and when. Pure: duties in, one step out.

    diligent   chooses the kategori on the working day after it heard of the case, holds talks before their last day,
               exempts whom the law lets it
    slow       does the same, `follow_up_delay` after the last day
    wrong      is as early as diligent, and tells what KSD must refuse: a kategori that is no more (O405), or a day in
               the future (O407)
    silent, manual   does nothing

Everything happens at 09.00 Danish time of its day, so that a clock can go from one step to the next. Recovery is
nothing that a jobcentre tells by itself: KSD hears of it from the employer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.plain import Json
from sygefravaer.jobcenter.duties import EARLY, FOLLOW_UP, Duty, Name, duties, kategori_for, may_exempt
from sygefravaer.jobcenter.facts import Facts, What, fulfilled_by
from sygefravaer.jobcenter.life import STATUS, TALK, TEAM, State, Update, state_of
from sygefravaer.jobcenter.policy import Mode, Policy
from sygefravaer.law import Law, Norm, at, danish_date, last_working_day, working_day

HOUR: Final = 9
"""Danish time at which a jobcentre does things."""
WELL_BEFORE: Final = timedelta(days=7)
SHORTLY_BEFORE: Final = timedelta(days=3)
"""How long before its last day a diligent jobcentre holds a talk; own choices."""
RHYTHM: Final = timedelta(weeks=4)
"""How often follow-ups are made good when their last day has passed; own choice."""
TOMORROW: Final = timedelta(days=1)

_HELD: Final[Mapping[Name, str]] = {
    Name.EARLY_TALK: EARLY,
    Name.FIRST_TALK: TALK,
    Name.FOLLOW_UP: FOLLOW_UP,
    Name.TEAM: TEAM,
    Name.PLANNED: "",
}
"""What a duty is fulfilled by when it is a talk; a planned one by itself."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to be done at an instant; `duty` None is an exemption, which nothing demands."""

    at: datetime
    duty: Duty | None = None
    look: bool = False
    """Nothing is to be done but to look again."""


def next_step(policy: Policy, facts: Facts, law: Law, *, now: datetime) -> Step | None:
    """Say what is to be done next by itself, and when; an instant that has passed means now."""
    if policy.follow_up in {Mode.SILENT, Mode.MANUAL}:
        return None
    facts, today = facts.whole(), danish_date(now)
    steps = [
        Step(at=_instant(policy, facts, duty), duty=duty)
        for duty in duties(facts, law, on=today)
        if duty.name in _HELD or duty.name in {Name.VISITATION, Name.WIDER_TEST}
    ]
    if policy.follow_up is Mode.DILIGENT and _exempts(facts, law, on=today):
        steps.append(Step(at=_nine(_known(facts, facts.held(TALK, law)))))
    if facts.state is State.UDEN_OPFOELGNING and facts.expected and may_exempt(facts, law, on=today):
        steps.append(Step(at=_nine(facts.expected), look=True))  # on that day the exemption is over
    return min(steps, key=lambda step: (step.at, step.duty is not None), default=None)


def told(policy: Policy, step: Step, facts: Facts, law: Law, *, now: datetime) -> Json | None:
    """Write what KSD is told of a step, spelled as on the wire; `None` when it is no matter of KSD's."""
    today, wrong = danish_date(now), policy.follow_up is Mode.WRONG
    if step.duty is None:
        return {"Opdateringstype": [Update.STANDBY], "JobcentersagStatus": STATUS[State.UDEN_OPFOELGNING]}
    if step.duty.name is Name.WIDER_TEST:
        return None
    if step.duty.name is Name.VISITATION:
        kategori, gone = kategori_for(facts, law, on=today), _gone(today) if wrong else None
        return {
            "Opdateringstype": [Update.VISITATION],
            "Visitationskategori": gone or kategori,
            "VisitationsDato": (today + TOMORROW if wrong and gone is None else today).isoformat(),
        }
    planned = next(
        (
            deed
            for deed in facts.done(What.FOLLOW_UP)
            if step.duty.name is Name.PLANNED and deed.open and deed.planned_at == step.duty.planned_at
        ),
        None,
    )
    held = now + TOMORROW if wrong else now
    return {
        "Opdateringstype": [Update.OPFOELGNING],
        "Opfoelgning": [
            {
                "Opfoelgningstype": planned.kind if planned else kind_for(_HELD[step.duty.name]),
                "Form": planned.form if planned else _form(law, step.duty.name, today),
                **({"PlanlagtTid": planned.planned_at.isoformat()} if planned and planned.planned_at else {}),
                "AfholdtTid": held.isoformat(),
                "Udfald": held_outcome(),
            }
        ],
    }


def kind_for(word: str) -> str:
    """Give the Opfoelgningstype that fulfils this and the fewest other things."""
    fitting = [code.kode for code in LISTS["opfoelgningstyper"] if word in fulfilled_by(code.kode)]
    return min(fitting, key=lambda kode: len(fulfilled_by(kode)))


def first_form(law: Law, on: date) -> str:
    """Give the form in which any talk counts: the one that the first is to be held in, else the first of the list."""
    wanted = law.find(Norm.FIRST_TALK_FORM, on)
    return wanted.value if wanted is not None else next(iter(LISTS["opfoelgningsformer"])).kode


def held_outcome() -> str:
    """Give the Udfald of a follow-up that took place."""
    return next(code.kode for code in LISTS["udfald"] if code.extra["afholdt"] == "ja")


def _instant(policy: Policy, facts: Facts, duty: Duty) -> datetime:
    if policy.follow_up is Mode.SLOW:
        return _nine(duty.due + policy.follow_up_delay)
    day = duty.due
    match duty.name:
        case Name.PLANNED if duty.planned_at is not None:
            return duty.planned_at
        case Name.VISITATION if not facts.quick or (facts.expected is not None and facts.expected > duty.due):
            day = working_day(facts.known_on, 1)
        case Name.VISITATION:
            return _nine(max(duty.due, _known(facts, ())))
        case Name.FIRST_TALK | Name.TEAM:
            day = duty.due - WELL_BEFORE
        case Name.EARLY_TALK:
            day = duty.due - SHORTLY_BEFORE
        case Name.FOLLOW_UP if duty.left is not None:
            last = _last_held(facts)
            day = last + ((duty.due - last) // duty.left if last < duty.due else RHYTHM)
            return _nine(max(last_working_day(day), working_day(last, 1), _known(facts, ())))
        case Name.FOLLOW_UP:
            day = duty.due - SHORTLY_BEFORE
    return _nine(max(last_working_day(day), _known(facts, ())))


def _exempts(facts: Facts, law: Law, *, on: date) -> bool:
    if any(facts.done(What.EXEMPTION)) or facts.state in {State.UDEN_OPFOELGNING, State.STANDBY}:
        return False
    followed = facts.kategori is not None and state_of(facts.kategori) is State.FOERSTE_OPFOELGNING
    return followed and may_exempt(facts, law, on=on)


def _known(facts: Facts, others: Iterable[date]) -> date:
    """Give the day from which anything could have been done: known, visited, and whatever else is named."""
    visited = facts.visited
    return max([working_day(facts.known_on, 1), *others, *([visited.day] if visited else [])])


def _last_held(facts: Facts) -> date:
    return max((deed.day for deed in facts.done(What.FOLLOW_UP) if deed.held), default=facts.first_day)


def _form(law: Law, name: Name, on: date) -> str:
    """Give the form of a talk: the first as the law wants it, a later one as the citizen likes."""
    wanted = law.find(Norm.FIRST_TALK_FORM, on)
    if wanted is None or name is not Name.FOLLOW_UP:
        return first_form(law, on)
    forms = [code.kode for code in LISTS["opfoelgningsformer"]]
    return next((form for form in forms if form != wanted.value), wanted.value)


def _gone(on: date) -> str | None:
    """Give a kategori that may not be chosen any more."""
    return next((code.kode for code in LISTS["visitationskategorier"] if code.gyldigTil and code.gyldigTil < on), None)


def _nine(day: date) -> datetime:
    return at(day, HOUR)
