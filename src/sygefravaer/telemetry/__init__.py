# SPDX-License-Identifier: MPL-2.0
"""
What a part tells of itself while it runs, never with a value from a message.

    logs       one JSON object a line
    trips      the four instants of a call, so that the gateway's time and the receiver's are told apart
    metrics    counters, gauges and histograms, as Prometheus reads them
    tracing    W3C trace context, and spans for an OpenTelemetry collector if one is configured
"""

from sygefravaer.telemetry.logs import CALL, JsonLines, Lines, start_logging, tell_supervisor
from sygefravaer.telemetry.metrics import MEDIA, Metrics, Reading
from sygefravaer.telemetry.tracing import Handing, Tracer, Tracing, caller_link, forwarding
from sygefravaer.telemetry.trips import TRIP, Trip

__all__ = [
    "CALL",
    "MEDIA",
    "TRIP",
    "Handing",
    "JsonLines",
    "Lines",
    "Metrics",
    "Reading",
    "Tracer",
    "Tracing",
    "Trip",
    "caller_link",
    "forwarding",
    "start_logging",
    "tell_supervisor",
]
