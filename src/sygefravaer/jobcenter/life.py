# SPDX-License-Identifier: MPL-2.0
"""
The life of a jobcentersag: its states, what moves it, and how a state is told. Pure.

A jobcentersag is one citizen's spell of illness in one municipality; several sygedagpengesager may hang on it. Which
kategori leads to which state, and which JobcentersagStatus tells which, stand in the code lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Final

from sygefravaer.contract.codes import LISTS
from sygefravaer.law import Law, Norm


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


class Update(StrEnum):
    """The Opdateringstyper by which a jobcentre tells what it did, beside those that are told by their block alone."""

    VISITATION = "VISITATION"
    OPFOELGNING = "OPFOELGNING"
    STANDBY = "STANDBY"
    OVERGANG = "OVERGANG"
    SAG_LUKKET = "SAG_LUKKET"


class Trigger(StrEnum):
    """What can move a jobcentersag."""

    QUICK = "kategori 1 chosen"
    FOLLOW_UP = "kategori 2 chosen"
    TEAM = "kategori 3 chosen"
    UNVISITED = "KSD refused the kategori"
    TEAM_MET = "the rehabiliteringsteam has met"
    TALK = "first follow-up held"
    UNTALKED = "KSD refused the first follow-up"
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

_UNVISITED: Final[Moves] = {Trigger.UNVISITED: None}

TRANSITIONS: Final[Mapping[State, Moves]] = {
    State.MODTAGET: {**_VISIT, **_ANY_TIME, **_TALK},
    State.VISITERET: {**_VISIT, **_UNVISITED, **_ANY_TIME, **_TALK},
    State.FOERSTE_OPFOELGNING: {**_VISIT, **_UNVISITED, **_ANY_TIME, **_TALK},
    State.REHABTEAM: {
        **_VISIT,
        **_UNVISITED,
        **_ANY_TIME,
        **_TALK,
        Trigger.TEAM_MET: State.FOERSTE_OPFOELGNING,
    },
    # A new kategori does not undo the first talk, except that a team takes the case over.
    State.LOEBENDE_OPFOELGNING: {**_ANY_TIME, Trigger.TEAM: State.REHABTEAM, Trigger.UNTALKED: None},
    State.UDEN_OPFOELGNING: {**_VISIT, **_ANY_TIME, **_TALK},
    State.STANDBY: {**_VISIT, **_ANY_TIME, **_TALK},
    State.VURDERER_FORLAENGELSE: {
        Trigger.ASKED: State.VURDERER_FORLAENGELSE,
        Trigger.ANSWERED: None,
        Trigger.UNDECIDED: State.JOBAFKLARING,
        Trigger.TRANSFER: State.JOBAFKLARING,
        Trigger.CLOSE: State.AFSLUTTET,
    },
    State.JOBAFKLARING: {Trigger.CLOSE: State.AFSLUTTET, Trigger.REOPEN: None},
    State.AFSLUTTET: {Trigger.REOPEN: None},
}

STATUS: Final[Mapping[State, str]] = {
    State(state): status.kode
    for status in LISTS["jobcentersagstatusser"]
    for state in status.extra["tilstande"].split(";")
}
"""The JobcentersagStatus that tells KSD of a state."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """Where a jobcentersag is, and where it was before that."""

    state: State = State.MODTAGET
    before: State = State.MODTAGET

    @property
    def standing(self) -> State:
        """The state without regard to an assessment that interrupts it."""
        return self.before if self.state is State.VURDERER_FORLAENGELSE else self.state

    def moved(self, trigger: Trigger) -> Life:
        """
        Say where a trigger leads; one that has no row in the table leads nowhere.

        An assessment of an extension takes weeks, in which the rest goes on: what has no row there moves the state
        that the assessment interrupted.
        """
        moves = TRANSITIONS[self.state]
        if trigger not in moves:
            if self.state is not State.VURDERER_FORLAENGELSE:
                return self
            return replace(self, before=Life(state=self.before, before=self.before).moved(trigger).state)
        target = moves[trigger] or self.before
        if target is self.state:
            return self
        # What the assessment of an extension interrupted is also what a reopened case goes back to.
        before = self.before if self.state is State.VURDERER_FORLAENGELSE else self.state
        return Life(state=target, before=before)


_CHOSEN: Final[Mapping[State, Trigger]] = {
    State.VISITERET: Trigger.QUICK,
    State.FOERSTE_OPFOELGNING: Trigger.FOLLOW_UP,
    State.REHABTEAM: Trigger.TEAM,
}
TALK: Final = "first_talk"
TEAM: Final = "team"
"""Words of the column `opfylder` of the list of follow-ups: what one fulfils when it is held."""


def state_of(kategori: str) -> State | None:
    """Say which state a kategori leads to; `None` when the list has no such kategori."""
    codes = LISTS["visitationskategorier"]
    return State(codes.get(kategori).extra["tilstand"]) if kategori in codes else None


def triggers(
    types: Iterable[str], *, kategori: str | None, held: frozenset[str], status: str | None
) -> Iterator[Trigger]:
    """
    Say what an update (SF2095) does to the jobcentersag that it tells of, by its Opdateringstyper in their order.

    `held`: what the follow-ups that were held fulfil. `status` is a JobcentersagStatus that was asked for; with
    STANDBY it tells exemption (s. 13 f) from serious illness.
    """
    for kind in types:
        match kind:
            case Update.VISITATION:
                state = state_of(kategori) if kategori is not None else None
                if state is not None:
                    yield _CHOSEN[state]
            case Update.OPFOELGNING:
                if TEAM in held:
                    yield Trigger.TEAM_MET
                if TALK in held:
                    yield Trigger.TALK
            case Update.STANDBY:
                yield Trigger.EXEMPT if status == STATUS[State.UDEN_OPFOELGNING] else Trigger.STAND_BY
            case Update.OVERGANG:
                yield Trigger.TRANSFER
            case Update.SAG_LUKKET:
                yield Trigger.CLOSE


# --- what follows where sygedagpenge end and the citizen is still incapacitated ---


def scheme_refused(law: Law, aarsag: str, on: date) -> str | None:
    """Give the scheme that follows a refusal of an extension, by the law of that day; `None` when none does."""
    codes = LISTS["afvisningsaarsager"]
    if aarsag not in codes or codes.get(aarsag).extra["uarbejdsdygtig"] != "ja":
        return None
    return law.rule(Norm.UNDECIDED_SCHEME, on).value


def scheme_ended(law: Law, ended_by: str, on: date) -> str | None:
    """Give the scheme that follows the end of a case: an end is asked as the refusal that fits it."""
    codes = LISTS["afslutningsaarsager"]
    return scheme_refused(law, codes.get(ended_by).extra["forlaengelseAfvises"], on) if ended_by in codes else None
