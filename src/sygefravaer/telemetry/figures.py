# SPDX-License-Identifier: MPL-2.0
"""
Figures for Prometheus: what calls came to and how long they took, and how things stand when somebody asks.

Labels are operations, codes and states: lists that the contract ends, so their number is bounded, and nothing personal
is among them. Counters are per process; figures that the database knows (`stand`) are the same at every node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from sygefravaer.telemetry.calls import Call

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LOOK_SECONDS: Final = 5.0  # for one look at how things stand; Prometheus gives up after ten
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 40.0)

Look = Callable[[], Awaitable[Mapping[str, float | Mapping[str, float]]]]
"""Gives figures by name: a number, or numbers by what the figure's label can be."""

STANDING: Final[Mapping[str, tuple[str, str | None]]] = {
    "ready": ("1 while the part can do its work, 0 while it cannot (its database is away, or it stops)", None),
    "messages": ("Messages that have not ended, and ends that their sender has not heard of", "state"),
    "oldest_seconds": ("Age of the oldest message that has not ended and waits for nobody", None),
    "obligations": ("Business answers that are owed and ends that nobody has heard of", "kind"),
    "obligations_overdue": ("Those of them whose day has passed", "kind"),
    "audit_unsealed": ("Committed rows of the record that are not sealed", None),
    "audit_unsealed_seconds": ("Age of the oldest of them", None),
    "certificate_days": ("Days until the first certificate in use ends that nobody has renewed", None),
    "revocation_age_seconds": ("Seconds since the oldest of the revocation lists was fetched", None),
    "in_flight": ("Messages that are being sent or answered", None),
    "parked": ("Lanes or messages that wait for a person", None),
    "database_connections": ("Connections of the pool", "state"),
    "database_waiting": ("Callers that wait for a connection", None),
}
"""What may stand in a look, with its help and its label; all begin with `sygefravaer_`."""

LOG: Final = logging.getLogger(__name__)

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more line per series, and nobody reads it


class Figures:
    """The figures of one part."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._calls = self._counter("calls", "Calls that were answered, by what they came to", "operation", "code")
        self._seconds = Histogram(
            "sygefravaer_call_seconds",
            "Seconds of a call, spent here (ours) and by whoever was asked (theirs)",
            ("operation", "where"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._attempts = self._counter("attempts", "Attempts to deliver, by what came of them", "operation", "outcome")
        self._failed = self._counter("looks_failed", "Looks at how things stand that failed or took too long")
        self._answering = Gauge("sygefravaer_calls_open", "Calls that are being answered", registry=self._registry)
        self._lag = Gauge(
            "sygefravaer_loop_lag_seconds", "How late the process came to what was due", registry=self._registry
        )
        self._standing: dict[str, Gauge] = {}
        self._looks: list[Look] = []

    def stand(self, look: Look) -> None:
        """Ask `look` how things stand, whenever somebody asks for the figures."""
        self._looks.append(look)

    def began(self) -> None:
        """Count a call that is being answered."""
        self._answering.inc()

    def ended(self, call: Call) -> None:
        """Count a call that was answered."""
        self._answering.dec()
        self._calls.labels(call.operation, call.code).inc()
        self._seconds.labels(call.operation, "ours").observe(call.ours)
        if call.theirs is not None:
            self._seconds.labels(call.operation, "theirs").observe(call.theirs)

    def attempted(self, operation: str, outcome: str) -> None:
        """Count an attempt to deliver."""
        self._attempts.labels(operation, outcome).inc()

    async def text(self) -> bytes:
        """Give all figures as Prometheus reads them; a look that fails is counted, and the others are told."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.sleep(0)
        self._lag.set(loop.time() - begun)
        for look in self._looks:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    found = await look()
            except Exception as error:  # noqa: BLE001  figures are told most of all when something is wrong
                LOG.warning("figures.look_failed", extra={"kind": type(error).__name__})
                self._failed.inc()
                continue
            for figure, value in found.items():
                self._set(figure, value)
        return generate_latest(self._registry)

    def _set(self, figure: str, value: float | Mapping[str, float]) -> None:
        told, label = STANDING[figure]
        gauge = self._standing.get(figure)
        if gauge is None:
            labels = () if label is None else (label,)
            gauge = self._standing[figure] = Gauge(f"sygefravaer_{figure}", told, labels, registry=self._registry)
        if isinstance(value, Mapping):
            for which, number in value.items():
                gauge.labels(which).set(number)
        else:
            gauge.set(value)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"sygefravaer_{name}", told, labels, registry=self._registry)
