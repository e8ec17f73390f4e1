# SPDX-License-Identifier: MPL-2.0
"""
How a jobcentre answers by itself. Pure: facts in, what is to be said and when out.

    diligent   says MODTAGET, and right after that what is right
    slow       says MODTAGET, and what is right only later: an event after `event_delay`, an extension `extension_delay`
               after the end of the day of its Svarfrist
    silent     never says anything
    wrong      says what KSD must refuse: an event of a version that never was (T205), a code that may not answer (F303)
    manual     says that a caseworker has it (AFLEVERET, for an extension MODTAGET) and leaves the rest to a person
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final, Generic, TypeVar
from zoneinfo import ZoneInfo

from sygefravaer.contract.codes import LISTS
from sygefravaer.jobcenter.duties import FORAELDET_VERSION, Citizen, Judgement, Verdict

DENMARK: Final = ZoneInfo("Europe/Copenhagen")

MODTAGET: Final = "MODTAGET"
AFLEVERET: Final = "AFLEVERET"
ACCEPTERET: Final = "ACCEPTERET"
AFVIST: Final = "AFVIST"
FINAL: Final = frozenset({ACCEPTERET, AFVIST})

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
    """How events (SF2090) and requests for extension (SF2093) are answered."""

    events: Mode = Mode.DILIGENT
    extensions: Mode = Mode.DILIGENT
    event_delay: timedelta = timedelta(days=2)
    extension_delay: timedelta = timedelta(days=6)
    extension_length: timedelta = timedelta(weeks=26)
    """How long an extension is granted for, when the code's maximum leaves that much."""

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
class Granted:
    """An extension that runs or ran; `til` None has no end yet."""

    kode: str
    fra: date
    til: date | None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a jobcentre knows when it answers a request for extension."""

    revurderingsdato: date
    svarfrist: date
    pensionist: bool
    mulige: tuple[str, ...]
    granted: tuple[Granted, ...]
    known: bool
    """There is a jobcentersag for the case."""
    citizen: Citizen
    ended_by: str | None
    """The Afslutningsaarsag of a case that has ended."""


REFUSAL_OF_ENDED: Final[Mapping[str, str]] = {
    "ARBEJDSDYGTIG_P7": "ARBEJDSDYGTIG",
    "DOED": "BORGER_DOED",
    "FLYTNING": "BORGER_FLYTTET",
    "UDREJST": "BORGER_FLYTTET",
    "P24_OPHOER": "INGEN_GRUND_OPFYLDT",
    "P27_3_UDLOEBET": "VARIGHED_OPBRUGT",
} | dict.fromkeys(
    (
        "JOBAFKLARING", "RESSOURCEFORLOEB", "FLEKSJOB", "FOERTIDSPENSION", "SENIORPENSION", "FOLKEPENSION",
        "REVALIDERING", "KONTANTHJAELP_MV", "A_KASSE", "BARSEL",
    ),
    "OVERGAAET_ANDEN_YDELSE",
)  # fmt: skip
"""Why an extension of an ended case is refused, by its Afslutningsaarsag; any other: RASKMELDT."""

NEVER: Final = date(9000, 1, 1)
"""From here on a day means that there is none, and nothing is counted from it."""

PREFERENCE: Final = ("P27_1_2", "P27_1_3", "P27_1_5")
"""The grounds that a case is tried under first; the remaining ones follow in the order KSD names them."""
PENSIONIST_CODE: Final = "P29"
NEVER_AN_ANSWER: Final = "P24A6"
"""A code that is in the list and may not answer SF2093: what a wrong jobcentre sends."""


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
        return ExtensionAnswer(code=AFVIST, aarsag="INGEN_GRUND_OPFYLDT")  # there is no day to extend from
    if policy.extensions is Mode.WRONG:
        til = asked.revurderingsdato + policy.extension_length
        return ExtensionAnswer(code=ACCEPTERET, kode=NEVER_AN_ANSWER, til=til)
    candidates = _candidates(asked, today)
    for kode in candidates:
        left = days_left(kode, asked.granted)
        days = policy.extension_length.days if left is None else min(left, policy.extension_length.days)
        if days > 0:
            return ExtensionAnswer(code=ACCEPTERET, kode=kode, til=asked.revurderingsdato + timedelta(days=days))
    return ExtensionAnswer(code=AFVIST, aarsag="VARIGHED_OPBRUGT" if candidates else "INGEN_GRUND_OPFYLDT")


def days_left(kode: str, granted: Iterable[Granted]) -> int | None:
    """Say how many days a code may still be used, all its periods counted together; `None` when it has no maximum."""
    weeks = LISTS["forlaengelseskoder"].get(kode).extra.get("maksUger")
    if not weeks:
        return None
    used = sum((period.til - period.fra).days + 1 for period in granted if period.kode == kode and period.til)
    return max(0, int(weeks) * 7 - used)


def danish_date(instant: datetime) -> date:
    """Give the day that an instant belongs to in Denmark."""
    return instant.astimezone(DENMARK).date()


def day_after(day: date) -> date:
    """Give the day after; the last day of the calendar, which some write for "no end", is its own."""
    return day if day == date.max else day + timedelta(days=1)


def end_of_day(day: date) -> datetime:
    """Give the instant at which a day ends in Denmark."""
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=DENMARK).astimezone(UTC)


def _refusal(asked: Asked) -> str | None:
    if not asked.known:
        return "SAG_UKENDT_I_JOBCENTER"
    if asked.citizen is Citizen.DEAD:
        return "BORGER_DOED"
    if asked.citizen is Citizen.MOVED:
        return "BORGER_FLYTTET"
    if asked.ended_by:
        return REFUSAL_OF_ENDED.get(asked.ended_by, "RASKMELDT")
    return None


def _candidates(asked: Asked, today: date) -> list[str]:
    """List the codes that may answer, in the order in which they are tried."""
    order = (PENSIONIST_CODE, *PREFERENCE) if asked.pensionist else PREFERENCE
    codes = LISTS["forlaengelseskoder"]
    usable = [
        kode
        for kode in asked.mulige
        if codes.valid(kode, today) and codes.get(kode).extra.get("kanBesvareSF2093") == "ja"
    ]
    return sorted(usable, key=lambda kode: order.index(kode) if kode in order else len(order))
