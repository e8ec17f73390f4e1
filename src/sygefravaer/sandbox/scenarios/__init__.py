# SPDX-License-Identifier: MPL-2.0
"""
Scenarios: stories of cases, as files that can be read, played and checked.

    days       days and hours as a story says them: `T+33d 09:00`, `next Wednesday`, `svarfrist+7d`
    clocks     when a story begins
    people     who plays
    reading    a file to a `Scenario`; what is wrong in it is named with file and step
    theatres   where a scenario is played: on a stage of its own, or in a sandbox that runs
    messages   messages that a test function sends in a system's name, over the wire
    watching   what is seen of messages, look-ups and states on the way, instant by instant
    looking    looks at many cases, and at the history of one
    checking   what must hold, and whether it does
    playing    a scenario from its first step to its last

The stories themselves lie in `data/`, one TOML file each (`docs/scenarios.md`).
"""

from sygefravaer.sandbox.scenarios.clocks import Clock, first_day, first_instant, start_of
from sygefravaer.sandbox.scenarios.playing import Report, play
from sygefravaer.sandbox.scenarios.reading import Scenario, known, load
from sygefravaer.sandbox.scenarios.theatres import RunningSandbox, StageTheatre, Theatre, house
from sygefravaer.sandbox.scenarios.watching import Line

__all__ = [
    "Clock",
    "Line",
    "Report",
    "RunningSandbox",
    "Scenario",
    "StageTheatre",
    "Theatre",
    "first_day",
    "first_instant",
    "house",
    "known",
    "load",
    "play",
    "start_of",
]
