# SPDX-License-Identifier: MPL-2.0
"""
What is counted and measured, in a registry of each part's own.

Labels come from bounded sets: operations of the contract, codes of ours, states. Nothing of a person or a municipality
is among them. `docs/operations.md` has the list; a test holds it, the board and the rules to what a gateway shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from sygefravaer.telemetry.trips import Trip

MEDIA: Final = CONTENT_TYPE_PLAIN_0_0_4
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 40.0)
"""Around what is promised: 5 and 25 ms of a look-up, 1 s from accept to delivered, 5 s of budget, 40 s of time-out."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The value of a gauge at this moment."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


class Metrics:
    """The metrics of one part."""

    def __init__(self, *, part: str, version: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("sygefravaer_build", "1, with the version.", ["part", "version"], registry=registry).labels(
            part, version
        ).set(1)
        self._calls = Counter("sygefravaer_calls", "Calls answered.", ["operation", "outcome"], registry=registry)
        self._seconds = Histogram(
            "sygefravaer_call_seconds",
            "Time of a call: whole, at the receiver, and own.",
            ["operation", "where"],
            buckets=SECONDS,
            registry=registry,
        )
        self._attempts = Counter(
            "sygefravaer_attempts", "Attempts to deliver.", ["operation", "outcome"], registry=registry
        )
        self._delivery = Histogram(
            "sygefravaer_delivery_seconds",
            "Time from accept to delivered.",
            ["operation"],
            buckets=(*SECONDS, 300.0, 3600.0, 86400.0),
            registry=registry,
        )
        self._gauges = {
            name: Gauge(f"sygefravaer_{name}", text, labels, registry=registry)
            for name, text, *labels in (
                ("answering", "Calls being answered."),
                ("database_up", "1 when the database answers."),
                ("messages", "Messages that have not ended.", "status"),
                ("oldest_message_seconds", "Age of the oldest message that waits to be delivered."),
                ("obligations", "Business answers that are owed.", "kind"),
                ("obligations_overdue", "Those that are past their deadline.", "kind"),
                ("receivers_resting", "Receivers that are left alone after repeated silence."),
                ("unsealed", "Rows of the record that are not in the chain yet."),
                ("unsealed_oldest_seconds", "Age of the oldest of them."),
                ("mails_waiting", "Mails that wait to be sent."),
                ("certificate_seconds", "Seconds until a certificate of this part expires.", "use"),
            )
        }

    def answered(self, trip: Trip) -> None:
        """Count a call that has been answered, and where its time went."""
        self._calls.labels(trip.operation, trip.outcome).inc()
        self._seconds.labels(trip.operation, "whole").observe(trip.whole)
        self._seconds.labels(trip.operation, "own").observe(trip.own)
        if trip.receiver is not None:
            self._seconds.labels(trip.operation, "receiver").observe(trip.receiver)

    def attempted(self, operation: str, outcome: str) -> None:
        """Count an attempt to deliver."""
        self._attempts.labels(operation, outcome).inc()

    def delivered(self, operation: str, seconds: float) -> None:
        """Count a message that has arrived, and how long that took."""
        self._delivery.labels(operation).observe(max(0.0, seconds))

    def text(self, readings: Iterable[Reading]) -> bytes:
        """Give all of it as Prometheus reads it, with the gauges as they are now; one that is not read is not shown."""
        for gauge in self._gauges.values():
            gauge.clear()
        for one in readings:
            gauge = self._gauges[one.name]
            (gauge.labels(**one.labels) if one.labels else gauge).set(one.value)
        return generate_latest(self._registry)
