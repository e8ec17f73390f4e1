# SPDX-License-Identifier: MPL-2.0
"""
The life of a sickness-benefit case: one table of allowed moves, one function that makes them. Pure.

States are spelled as `SagsTilstand`. OVERFLYTTET is no state of a case: only the former municipality sees it, in the
last picture it was given. A reopened case goes back to the state it had before it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sygefravaer.errors import Party, SygefravaerError


class State(StrEnum):
    """Where a case stands."""

    ANMELDT = "ANMELDT"
    OPLYST = "OPLYST"
    LOEBENDE = "LOEBENDE"
    DELVIST_RASKMELDT = "DELVIST_RASKMELDT"
    REVURDERING = "REVURDERING"
    FORLAENGET = "FORLAENGET"
    STANDSET = "STANDSET"
    AFSLUTTET = "AFSLUTTET"
    ANNULLERET = "ANNULLERET"


HANDED_OVER: Final = "OVERFLYTTET"
"""`SagsTilstand` of the last version that a former municipality was told."""

ENDED: Final = frozenset({State.AFSLUTTET, State.ANNULLERET})
OPEN: Final = frozenset(State) - ENDED


class Trigger(StrEnum):
    """What can move a case; the clause is that of sygedagpengeloven."""

    FORM = "oplysningsskema returned (s. 11)"
    CATEGORY = "kategori chosen (s. 12(2))"
    PART_TIME = "part-time return (s. 7, 53)"
    ASK = "extension asked for (s. 24(1))"
    GRANT = "extension granted (s. 27(1))"
    STOP = "citizen does not cooperate (s. 21)"
    RESUME = "conditions are met again (s. 21)"
    END = "recovery, decision, death, other scheme (s. 7, 24(2), 25(2), 27(3))"
    ANNUL = "the report was an error"
    REOPEN = "relapse, appeal won, corrected recovery"


RUNNING: Final = frozenset({State.LOEBENDE, State.DELVIST_RASKMELDT, State.FORLAENGET})
"""Paid, and not being reassessed."""

TRANSITIONS: Final[Mapping[State, Mapping[Trigger, frozenset[State]]]] = {
    state: {
        **({Trigger.FORM: frozenset({State.OPLYST})} if state is State.ANMELDT else {}),
        **({Trigger.CATEGORY: frozenset({State.LOEBENDE})} if state is State.OPLYST else {}),
        **({Trigger.PART_TIME: frozenset({State.DELVIST_RASKMELDT})} if state is State.LOEBENDE else {}),
        **({Trigger.ASK: frozenset({State.REVURDERING})} if state in RUNNING else {}),
        **({Trigger.GRANT: frozenset({State.FORLAENGET})} if state is State.REVURDERING else {}),
        **({Trigger.STOP: frozenset({State.STANDSET})} if state in OPEN - {State.STANDSET} else {}),
        **({Trigger.RESUME: frozenset({State.LOEBENDE, State.REVURDERING})} if state is State.STANDSET else {}),
        **({Trigger.END: frozenset({State.AFSLUTTET})} if state in OPEN else {}),
        **({Trigger.ANNUL: frozenset({State.ANNULLERET})} if state is not State.ANNULLERET else {}),
        **({Trigger.REOPEN: OPEN} if state is State.AFSLUTTET else {}),
    }
    for state in State
}
"""From each state, the triggers that apply there and the states they may lead to."""


class IllegalMove(SygefravaerError):
    """The case cannot move so."""

    code = "IllegalMove"
    who = Party.CALLER

    def __init__(self, state: State, trigger: Trigger) -> None:
        self.state = state
        self.trigger = trigger
        possible = ", ".join(each.name for each in TRANSITIONS[state]) or "nothing"
        super().__init__(f"It is {state}; {trigger.name} ({trigger}) does not apply there, but {possible} does.")


def can(state: State, trigger: Trigger) -> bool:
    """Say whether the trigger applies in this state."""
    return trigger in TRANSITIONS[state]


def move(state: State, trigger: Trigger, *, to: State | None = None) -> State:
    """Give the state that the trigger leads to; where it may lead to several, `to` chooses. Raises IllegalMove."""
    possible = TRANSITIONS[state].get(trigger, frozenset())
    if to is None and len(possible) == 1:
        return next(iter(possible))
    if to is None or to not in possible:
        raise IllegalMove(state, trigger)
    return to


def follow(state: State, *triggers: Trigger) -> State:
    """Make every one of these moves that applies, in order; the others change nothing."""
    for trigger in triggers:
        if can(state, trigger):
            state = move(state, trigger)
    return state
