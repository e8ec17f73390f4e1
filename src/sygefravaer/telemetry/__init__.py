# SPDX-License-Identifier: MPL-2.0
"""
What a process tells of itself to those who run it: log lines, figures, traces. Never a body and never a CPR.

`lines` are for reading what happened, `figures` for seeing how it goes (Prometheus), `traces` for following one call
through all that take part in it (OpenTelemetry). `calls` has the four instants of a call, which the latter two tell.
"""

from sygefravaer.telemetry.calls import OK, Call, asking, current, name, names
from sygefravaer.telemetry.figures import Figures
from sygefravaer.telemetry.lines import CALL, JsonLines, Lines, start_logging, tell_supervisor
from sygefravaer.telemetry.traces import Traces, asked, attempted, outgoing

__all__ = [
    "CALL",
    "OK",
    "Call",
    "Figures",
    "JsonLines",
    "Lines",
    "Traces",
    "asked",
    "asking",
    "attempted",
    "current",
    "name",
    "names",
    "outgoing",
    "start_logging",
    "tell_supervisor",
]
