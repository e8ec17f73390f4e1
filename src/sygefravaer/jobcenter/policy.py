# SPDX-License-Identifier: MPL-2.0
"""
How a jobcentre answers by itself. Pure: facts in, what is to be said and when out.

What it does in its own cases by itself is `following`.

    diligent   says MODTAGET, and right after that what is right
    slow       says MODTAGET, and what is right only later: an event after `event_delay`, an extension `extension_delay`
               after the end of the day of its Svarfrist
    silent     never says anything
    wrong      says what KSD must refuse: an event of a version that never was (T205), a code that may not answer (F303)
    manual     says that a caseworker has it (AFLEVERET, for an extension MODTAGET) and leaves the rest to a person
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final, Generic, TypeVar

from sygefravaer.contract.codes import LISTS
from sygefravaer.contract.messages import ForlaengelseType
from sygefravaer.jobcenter.verdicts import FORAELDET_VERSION, Citizen, Judgement, Verdict
from sygefravaer.law import NEVER, danish_date, day_after, days_left, end_of_day

MODTAGET: Final = "MODTAGET"
AFLEVERET: Final = "AFLEVERET"
ACCEPTERET: Final = "ACCEPTERET"
AFVIST: Final = "AFVIST"
FINAL: Final = frozenset({ACCEPTERET, AFVIST})
NO_GROUND: Final = "INGEN_GRUND_OPFYLDT"

AnswerT = TypeVar("AnswerT")


class Mode(StrEnum):
    """A way to answer."""

    DILIGENT = "diligent"
    SLOW = "slow"
    SILENT = "silent"
    WRONG = "wrong"
    MANUAL = "manual"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """
    How events (SF2090) and requests for extension (SF2093) are answered, and how the own cases are followed up.

    Answers come by themselves unless told otherwise; a follow-up is a person's, unless told otherwise.
    """

    events: Mode = Mode.DILIGENT
    extensions: Mode = Mode.DILIGENT
    follow_up: Mode = Mode.MANUAL
    event_delay: timedelta = timedelta(days=2)
    extension_delay: timedelta = timedelta(days=6)
    extension_length: timedelta = timedelta(weeks=26)
    """How long an extension is granted for, when the code's maximum leaves that much."""
    follow_up_delay: timedelta = timedelta(days=3)
    """How long after its last day a slow jobcentre does what it must."""

    def as_json(self) -> dict[str, str | float]:
        """Give modes as words and durations in seconds."""
        return {
            spec.name: value.total_seconds() if isinstance(value, timedelta) else str(value)
            for spec, value in ((spec, getattr(self, spec.name)) for spec in fields(self))
        }

    @classmethod
    def of_json(cls, given: Mapping[str, str | float]) -> Policy:
        """Read what `as_json` gave."""
        return cls(
            **{
                name: Mode(value) if isinstance(value, str) else timedelta(seconds=value)
                for name, value in given.items()
            }  # type: ignore[arg-type]  # names and kinds are our own
        )


@dataclass(frozen=True, kw_only=True)
class EventAnswer:
    """A business answer to an event: the code, a FejlKode with AFVIST, and how far the version is off on purpose."""

    code: str
    fejl: str | None = None
    begrundelse: str | None = None
    version_offset: int = 0


@dataclass(frozen=True, kw_only=True)
class ExtensionAnswer:
    """A business answer to a request for extension: a code and its last day, or why not."""

    code: str
    kode: str | None = None
    til: date | None = None
    aarsag: str | None = None
    begrundelse: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[AnswerT]):
    """What to say now, and when to say the rest; `due` None means that nothing more will be said by itself."""

    now: tuple[AnswerT, ...] = ()
    due: datetime | None = None


def plan_event(policy: Policy, judgement: Judgement, *, now: datetime) -> Plan[EventAnswer]:
    """Say how an event is answered when it has just been received."""
    if policy.events is Mode.SILENT:
        return Plan()
    received = EventAnswer(code=MODTAGET)
    match judgement.verdict:
        case Verdict.OBSOLETE:
            return Plan(now=(EventAnswer(code=MODTAGET, begrundelse=FORAELDET_VERSION),))
        case Verdict.REFUSED:
            return Plan(now=(received, EventAnswer(code=AFVIST, fejl=judgement.code)))
        case Verdict.EARLY:
            return Plan(now=(received,))
    if policy.events is Mode.MANUAL:
        return Plan(now=(EventAnswer(code=AFLEVERET),))
    rest = plan_opened(policy, now=now)
    return Plan(now=(received, *rest.now), due=rest.due)


def plan_opened(policy: Policy, *, now: datetime) -> Plan[EventAnswer]:
    """Say how a change is answered that had come before OPRETTET, when its case turns out to exist."""
    match policy.events:
        case Mode.SILENT | Mode.MANUAL:
            return Plan()
        case Mode.SLOW:
            return Plan(due=now + policy.event_delay)
    return Plan(now=(settled_event(policy),))


def settled_event(policy: Policy) -> EventAnswer:
    """Give the final answer to an event that was applied."""
    return EventAnswer(code=ACCEPTERET, version_offset=1 if policy.events is Mode.WRONG else 0)


# --- extensions ---


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a jobcentre knows when it answers a request for extension."""

    revurderingsdato: date
    svarfrist: date
    anmodningstype: str
    mulige: tuple[str, ...]
    granted: tuple[ForlaengelseType, ...]
    known: bool
    """There is a jobcentersag for the case."""
    citizen: Citizen
    ended_by: str | None
    """The Afslutningsaarsag of a case that has ended."""


def plan_extension(policy: Policy, asked: Asked, *, now: datetime) -> Plan[ExtensionAnswer]:
    """Say how a request for extension is answered when it has just been received."""
    received = ExtensionAnswer(code=MODTAGET)
    if policy.extensions is not Mode.SILENT and max(asked.revurderingsdato, asked.svarfrist) >= NEVER:
        return Plan(now=(received,))  # for a person
    match policy.extensions:
        case Mode.SILENT:
            return Plan()
        case Mode.SLOW:
            return Plan(now=(received,), due=max(now, end_of_day(asked.svarfrist) + policy.extension_delay))
        case Mode.MANUAL:
            return Plan(now=(received,))
    return Plan(now=(received, settled_extension(policy, asked, today=danish_date(now))))


def settled_extension(policy: Policy, asked: Asked, *, today: date) -> ExtensionAnswer:
    """Give the final answer to a request for extension."""
    refusal = _refusal(asked)
    if refusal:
        return ExtensionAnswer(code=AFVIST, aarsag=refusal)
    if asked.revurderingsdato >= NEVER:
        return ExtensionAnswer(code=AFVIST, aarsag=NO_GROUND)  # there is no day to extend from
    if policy.extensions is Mode.WRONG:
        til = asked.revurderingsdato + policy.extension_length
        return ExtensionAnswer(code=ACCEPTERET, kode=_never_an_answer(today), til=til)
    candidates = _candidates(asked, today)
    for kode in candidates:
        left = days_left(kode, asked.granted, first=day_after(asked.revurderingsdato))
        days = policy.extension_length.days if left is None else min(left, policy.extension_length.days)
        if days > 0:
            return ExtensionAnswer(code=ACCEPTERET, kode=kode, til=asked.revurderingsdato + timedelta(days=days))
    return ExtensionAnswer(code=AFVIST, aarsag="VARIGHED_OPBRUGT" if candidates else NO_GROUND)


def _refusal(asked: Asked) -> str | None:
    if not asked.known:
        return "SAG_UKENDT_I_JOBCENTER"
    if asked.citizen is Citizen.DEAD:
        return "BORGER_DOED"
    if asked.citizen is Citizen.MOVED:
        return "BORGER_FLYTTET"
    if asked.ended_by:
        return LISTS["afslutningsaarsager"].get(asked.ended_by).extra["forlaengelseAfvises"]
    return None


def _candidates(asked: Asked, today: date) -> list[str]:
    """
    List the codes that may answer, in the order in which they are tried.

    The request's own clause first (s. 29 for pensioners); then a ground that ends by itself before one that does not,
    the shortest first; then as KSD names them.
    """
    codes = LISTS["forlaengelseskoder"]
    own = _paragraphs(LISTS["anmodningstyper"].get(asked.anmodningstype).extra["paragraf"])
    usable = [kode for kode in asked.mulige if codes.valid(kode, today) and _answers(kode)]

    def rank(kode: str) -> tuple[bool, float]:
        extra = codes.get(kode).extra
        return not (_paragraphs(extra["paragraf"]) & own), float(extra["maksUger"] or "inf")

    return sorted(usable, key=rank)


def _never_an_answer(today: date) -> str:
    """Give a code that may not answer SF2093, which is what a wrong jobcentre sends; a valid one if there is any."""
    codes = LISTS["forlaengelseskoder"]
    never = [code.kode for code in codes if not _answers(code.kode)]
    return next((kode for kode in never if codes.valid(kode, today)), never[0])


def _answers(kode: str) -> bool:
    return LISTS["forlaengelseskoder"].get(kode).extra["kanBesvareSF2093"] == "ja"


def _paragraphs(clause: str) -> frozenset[str]:
    """Give the numbers of the sections that a clause names, without its parts."""
    return frozenset(re.findall(r"\d+", clause.partition(",")[0]))
