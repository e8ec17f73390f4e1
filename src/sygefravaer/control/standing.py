# SPDX-License-Identifier: MPL-2.0
"""
What acts have in common, whichever part offers them: how they are offered, and those that are the same everywhere.

An act is written for `Fields` and raises our own errors; `offered` makes what a door takes of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Final, Protocol

from sygefravaer.clock import Clock, MovableClock
from sygefravaer.contract.plain import Json
from sygefravaer.control.door import Act
from sygefravaer.control.fields import Fields
from sygefravaer.errors import ActRefused, Conflict, PlatformFault, Refused, UsageError

Work = Callable[[Fields], Awaitable[Json]]

LATEST: Final = 3600.0  # seconds an answer can be held back
MOST: Final = 10_000
TURN: Final = 2.0  # seconds of machine time that an act waits for the end of a turn


class Faulty(Protocol):
    """A receiver that can be made to do wrong on purpose."""

    def change(
        self,
        *,
        reset: bool,
        answer_late: float | None,
        close_after_apply: int | None,
        refuse_connections: bool | None,
        swapped_code: tuple[str, ...] | None,
    ) -> Json:
        """Change what is given and tell all of it."""
        ...


def offered(acts: Mapping[str, Work]) -> Mapping[str, Act]:
    """Make acts for a door; what our own rooms refuse becomes the door's refusal."""
    return {name: _offered(act) for name, act in acts.items()}


def _offered(act: Work) -> Act:
    made = partial(_performed, act)
    made.__doc__ = act.__doc__  # what the door says of it
    return made


async def _performed(act: Work, given: Json) -> Json:
    try:
        return await act(Fields(given))
    except Conflict as error:
        raise ActRefused("Taken", "An id that was given belongs to something else already.") from error
    except UsageError as error:
        raise ActRefused(error.code, error.detail) from error
    except (Refused, PlatformFault) as error:
        raise ActRefused(error.code, error.text) from error


def head(part: str, name: str, clock: Clock) -> Json:
    """Give what every part says first of its health."""
    return {
        "part": part,
        "name": name,
        "state": "running",
        "version": version("sygefravaer"),
        "now": clock.now().isoformat(),
    }


def clock_act(clock: Clock, moved: Callable[[], None] = lambda: None) -> Work:
    """Make the act `clock` of a part; `moved` is called when the time was."""

    async def tell(given: Fields) -> Json:
        """
        Tell the time, and move it forward first if asked (act `clock`).

        | field | |
        |---|---|
        | `hold` | true: it stands still, and what is done by itself waits for a turn; false: it runs on from here |
        | `now` | a time with offset to move to; while it is held, quietly: nobody wakes |
        | `advance` | seconds to move by |
        | `turn` | true, while it is held: what is due is done, one thing after the other; gives `rests` when all was |

        In this order. Gives `now`, and `held` while it is held.
        """
        hold, instant, seconds = given.find("hold", bool), given.find("now", datetime), given.find("advance", float)
        turn = given.find("turn", bool)
        given.done()
        if (hold, instant, seconds, turn) == (None,) * 4:
            return _time(clock)
        if not isinstance(clock, MovableClock):
            raise ActRefused("ClockFixed", "This part runs on the machine's clock, which nobody moves.")
        if hold:
            clock.hold()
        if instant is not None or seconds is not None:
            try:
                clock.set(instant or clock.now() + timedelta(seconds=seconds or 0))
            except (OverflowError, ValueError) as error:
                raise ActRefused("FieldWrong", "The time would be past the end of the calendar.") from error
            moved()
        if hold is False:
            clock.release()
        if turn:
            if not clock.held:
                raise ActRefused("ClockRuns", "Turns are taken while the clock is held.")
            return _time(clock) | {"rests": await clock.turn(TURN)}
        return _time(clock)

    return tell


def _time(clock: Clock) -> Json:
    return {"now": clock.now().isoformat()} | ({"held": True} if clock.held else {})


def chaos_act(chaos: Faulty) -> Work:
    """Make the act `chaos` of a receiver."""

    async def disturb(given: Fields) -> Json:
        """
        Make the part a faulty receiver (act `chaos`); what is not given stays, and all is told.

        | field | |
        |---|---|
        | `reset` | true: all of it ends first |
        | `answer_late` | seconds that every answer is held back; 0 ends it |
        | `close_after_apply` | so many calls are carried out and cut off instead of answered |
        | `refuse_connections` | true: every call is cut off before anything is done |
        | `swapped_code` | two codes of one list that change places in all that it says; an empty list ends it |
        """
        reset, late = given.find("reset", bool), given.find("answer_late", float)
        close = given.number("close_after_apply", -1, most=MOST)
        refuse, codes = given.find("refuse_connections", bool), given.list("swapped_code", str)
        given.done()
        return chaos.change(
            reset=reset is True,
            answer_late=None if late is None else max(0.0, min(late, LATEST)),
            close_after_apply=None if close < 0 else close,
            refuse_connections=refuse,
            swapped_code=codes,
        )

    return disturb
