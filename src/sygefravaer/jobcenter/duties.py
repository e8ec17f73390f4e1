# SPDX-License-Identifier: MPL-2.0
"""
What a jobcentre must do, and when: the life of a jobcentersag and the verdict on an event. Pure.

A jobcentersag is one citizen's spell of illness in one municipality; several sygedagpengesager may hang on it. Its
life is one table. The duties name their clause; a duty that a later law takes away is a row with a last day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """The states of a jobcentersag."""

    MODTAGET = "MODTAGET"
    VISITERET = "VISITERET"
    FOERSTE_OPFOELGNING = "FOERSTE_OPFOELGNING"
    LOEBENDE_OPFOELGNING = "LOEBENDE_OPFOELGNING"
    UDEN_OPFOELGNING = "UDEN_OPFOELGNING"
    STANDBY = "STANDBY"
    REHABTEAM = "REHABTEAM"
    VURDERER_FORLAENGELSE = "VURDERER_FORLAENGELSE"
    JOBAFKLARING = "JOBAFKLARING"
    AFSLUTTET = "AFSLUTTET"


class Trigger(StrEnum):
    """What can move a jobcentersag."""

    QUICK = "kategori 1 chosen"
    FOLLOW_UP = "kategori 2 chosen"
    TEAM = "kategori 3 chosen"
    TALK = "first follow-up held"
    EXEMPT = "no follow-up needed"
    STAND_BY = "serious illness"
    ASKED = "extension asked for"
    ANSWERED = "extension answered"
    UNDECIDED = "refused and still incapacitated"
    TRANSFER = "another scheme takes over"
    CLOSE = "no sygedagpengesag is open"
    REOPEN = "a sygedagpengesag runs again"


Moves = Mapping[Trigger, State | None]
"""Where a trigger leads; `None` is the state before the present one."""

_VISIT: Final[Moves] = {
    Trigger.QUICK: State.VISITERET,
    Trigger.FOLLOW_UP: State.FOERSTE_OPFOELGNING,
    Trigger.TEAM: State.REHABTEAM,
}
_ANY_TIME: Final[Moves] = {
    Trigger.STAND_BY: State.STANDBY,
    Trigger.EXEMPT: State.UDEN_OPFOELGNING,
    Trigger.ASKED: State.VURDERER_FORLAENGELSE,
    Trigger.TRANSFER: State.JOBAFKLARING,
    Trigger.CLOSE: State.AFSLUTTET,
}
_TALK: Final[Moves] = {Trigger.TALK: State.LOEBENDE_OPFOELGNING}

TRANSITIONS: Final[Mapping[State, Moves]] = {
    State.MODTAGET: {**_VISIT, **_ANY_TIME, **_TALK},
    State.VISITERET: {**_VISIT, **_ANY_TIME, **_TALK},
    State.FOERSTE_OPFOELGNING: {**_VISIT, **_ANY_TIME, **_TALK},
    State.REHABTEAM: {**_VISIT, **_ANY_TIME, **_TALK},
    # A new kategori does not undo the first talk, except that a team takes the case over.
    State.LOEBENDE_OPFOELGNING: {**_ANY_TIME, Trigger.TEAM: State.REHABTEAM},
    State.UDEN_OPFOELGNING: {**_VISIT, **_ANY_TIME, **_TALK},
    State.STANDBY: {**_VISIT, **_ANY_TIME, **_TALK},
    State.VURDERER_FORLAENGELSE: {
        Trigger.ANSWERED: None,
        Trigger.UNDECIDED: State.JOBAFKLARING,
        Trigger.TRANSFER: State.JOBAFKLARING,
        Trigger.CLOSE: State.AFSLUTTET,
    },
    State.JOBAFKLARING: {Trigger.CLOSE: State.AFSLUTTET, Trigger.REOPEN: None},
    State.AFSLUTTET: {Trigger.REOPEN: None},
}

STATUS: Final[Mapping[State, str]] = {
    State.MODTAGET: "MODTAGET",
    State.VISITERET: "VISITERET",
    State.FOERSTE_OPFOELGNING: "I_OPFOELGNING",
    State.LOEBENDE_OPFOELGNING: "I_OPFOELGNING",
    State.UDEN_OPFOELGNING: "UDEN_OPFOELGNING_P13F",
    State.STANDBY: "STANDBY",
    State.REHABTEAM: "REHABTEAM",
    State.VURDERER_FORLAENGELSE: "VURDERER_FORLAENGELSE",
    State.JOBAFKLARING: "OVERGAAET",
    State.AFSLUTTET: "AFSLUTTET",
}
"""The JobcentersagStatus that tells KSD of a state."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """Where a jobcentersag is, and where it was before that."""

    state: State = State.MODTAGET
    before: State = State.MODTAGET

    def moved(self, trigger: Trigger) -> Life:
        """Say where a trigger leads; one that has no row in the table leads nowhere."""
        moves = TRANSITIONS[self.state]
        if trigger not in moves:
            return self
        target = moves[trigger] or self.before
        if target is self.state:
            return self
        # What the assessment of an extension interrupted is also what a reopened case goes back to.
        before = self.before if self.state is State.VURDERER_FORLAENGELSE else self.state
        return Life(state=target, before=before)


_KATEGORIER: Final[Mapping[str, Trigger]] = {"1": Trigger.QUICK, "2": Trigger.FOLLOW_UP, "3": Trigger.TEAM}


def triggers(types: Iterable[str], *, kategori: str | None, held: bool, status: str | None) -> Iterator[Trigger]:
    """Say what an update (SF2095) does to the jobcentersag that it tells of, by its Opdateringstyper in their order.

    `held`: a follow-up in it was held. `status` is a JobcentersagStatus that was asked for; with STANDBY it tells
    exemption (s. 13 f) from serious illness.
    """
    for kind in types:
        match kind:
            case "VISITATION":
                if kategori is not None and kategori in _KATEGORIER:
                    yield _KATEGORIER[kategori]
            case "OPFOELGNING" if held:
                yield Trigger.TALK
            case "STANDBY":
                yield Trigger.EXEMPT if status == STATUS[State.UDEN_OPFOELGNING] else Trigger.STAND_BY
            case "OVERGANG":
                yield Trigger.TRANSFER
            case "SAG_LUKKET":
                yield Trigger.CLOSE


# --- the verdict on an event (SF2090) ---


class Verdict(StrEnum):
    """What a jobcentre does with an event."""

    APPLIED = "applied"
    EARLY = "early"
    """Applied, but the case was never opened: answered when OPRETTET comes, or HentSag has told."""
    REPEATED = "repeated"
    OBSOLETE = "obsolete"
    REFUSED = "refused"


OPRETTET: Final = "OPRETTET"
AENDRET: Final = "AENDRET"
AFSLUTTET: Final = "AFSLUTTET"

FORAELDET_VERSION: Final = "FORAELDET_VERSION"
"""The Begrundelse of a MODTAGET that settles an event which a later version has overtaken."""

ENDED: Final = frozenset({"AFSLUTTET", "ANNULLERET", "OVERFLYTTET"})
"""The values of SagsTilstand in which a sygedagpengesag runs no more."""

OPEN_WAIT: Final = timedelta(hours=24)
"""How long a change may wait for its OPRETTET before HentSag is asked."""


class Citizen(StrEnum):
    """What the municipality's own register says of a citizen; most are simply known."""

    KNOWN = "known"
    MOVED = "moved"
    UNKNOWN = "unknown"
    DEAD = "dead"


_CITIZEN_REFUSALS: Final[Mapping[Citizen, str]] = {
    Citizen.MOVED: "B101",
    Citizen.UNKNOWN: "B102",
    Citizen.DEAD: "B103",
}


@dataclass(frozen=True, kw_only=True)
class KnownCase:
    """What is known of a sygedagpengesag before an event: its highest version, whether it has ended and was opened."""

    version: int
    ended: bool
    opened: bool
    same_content: bool
    """The snapshot of the event equals the one that is kept."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict and, when it is a refusal, its FejlKode."""

    verdict: Verdict
    code: str | None = None


def judge_event(
    known: KnownCase | None, *, haendelsestype: str, version: int, reopened: bool, citizen: Citizen
) -> Judgement:
    """Judge an event by what is known of its case; the order key is (SagsID, SagsVersion).

    `reopened` says that GENOPTAGET is among its causes. An ending is never refused for who the citizen is: it takes
    work away. Codes B101, B102, B103, B105, B106.
    """
    if known and version < known.version:
        return Judgement(verdict=Verdict.OBSOLETE)
    if known and version == known.version and known.same_content:
        heard = known.opened or haendelsestype == OPRETTET  # else it waits as its first copy does
        return Judgement(verdict=Verdict.REPEATED if heard else Verdict.EARLY)
    code = None
    if known and version == known.version:
        code = "B106"
    elif haendelsestype != AFSLUTTET and citizen in _CITIZEN_REFUSALS:
        code = _CITIZEN_REFUSALS[citizen]
    elif known and known.ended and haendelsestype == AENDRET and not reopened:
        code = "B105"
    if code:
        return Judgement(verdict=Verdict.REFUSED, code=code)
    opened = haendelsestype == OPRETTET or (known is not None and known.opened)
    return Judgement(verdict=Verdict.APPLIED if opened else Verdict.EARLY)


# --- deadlines ---


@dataclass(frozen=True, kw_only=True)
class Duty:
    """Something the jobcentre must have done by the end of a day, and the clause that says so."""

    name: str
    due: date
    clause: str


FIRST_TALK_WEEKS: Final = 8
"""Weeks from the first absence day to the end of the first talk's deadline; LBK 1179/2023, s. 13 b(1)."""
TEAM_WEEKS: Final = 4
"""Weeks from the choice of kategori 3 to the rehabiliteringsteam; LBK 1712/2021, s. 13 d(3)."""
LAST_DAY_OF_KATEGORI_3: Final = date(2024, 12, 31)


def duties(life: Life, *, first_day: date, kategori: str | None, visited: date | None) -> tuple[Duty, ...]:
    """List what is left to do on a jobcentersag, the earliest first."""
    found: list[Duty] = []
    if life.state is State.MODTAGET:
        found.append(Duty(name="visitation", due=_end_of_week(first_day, FIRST_TALK_WEEKS), clause="s. 12"))
    if life.state is State.FOERSTE_OPFOELGNING or (life.state is State.REHABTEAM and kategori == "3"):
        found.append(Duty(name="first follow-up", due=_end_of_week(first_day, FIRST_TALK_WEEKS), clause="s. 13 b(1)"))
    if life.state is State.REHABTEAM and visited and visited <= LAST_DAY_OF_KATEGORI_3:
        found.append(Duty(name="rehabiliteringsteam", due=visited + timedelta(weeks=TEAM_WEEKS), clause="s. 13 d(3)"))
    return tuple(sorted(found, key=lambda duty: duty.due))


def _end_of_week(first_day: date, week: int) -> date:
    return first_day + timedelta(weeks=week) - timedelta(days=1)
