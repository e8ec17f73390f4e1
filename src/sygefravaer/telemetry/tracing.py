# SPDX-License-Identifier: MPL-2.0
"""
W3C trace context through a call, and spans for an OpenTelemetry collector if one is configured.

Without one, what a caller sent is handed on as it came, which the standard allows to whoever records nothing. With
one, the call and what is forwarded are spans of the caller's trace. The SDK is an extra (`sygefravaer[traces]`) and is
loaded only then. Spans hold operation, outcome, CallUUID and the four instants; nothing of a message's content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol
from uuid import UUID

from sygefravaer.errors import UsageError
from sygefravaer.telemetry.trips import TRIP, Trip

PARENT: Final = "traceparent"
STATE: Final = "tracestate"
LONGEST_STATE: Final = 512  # characters that must be handed on, by the standard
_PARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_STATE: Final = re.compile(r"[\x20-\x7e]{1,512}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


def context_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Read the trace context of a call; what is malformed is as good as none."""
    parent = headers.get(PARENT, "").strip()
    if not _PARENT.fullmatch(parent):
        return {}
    state = headers.get(STATE, "").strip()
    return {PARENT: parent} | ({STATE: state} if _STATE.fullmatch(state) else {})


def caller_link(identifier: str | None) -> tuple[str, str] | None:
    """
    Read what of a `CallersServiceCallIdentifier` may stand in a trace: ("traceparent" or "uuid", the text), or None.

    It is the caller's own text, and may be anything; what has neither form is left out.
    """
    text = (identifier or "").strip()
    if _PARENT.fullmatch(text):
        return PARENT, text
    return ("uuid", str(UUID(text))) if _UUID.fullmatch(text) else None


class Tracer(Protocol):
    """What makes the spans of a part."""

    def call(self, trip: Trip, headers: Mapping[str, str]) -> None:
        """Begin the span of a call that has come."""
        ...

    def caller(self, trip: Trip, identifier: str | None) -> None:
        """Link the call to what its caller calls it."""
        ...

    def done(self, trip: Trip, call_uuid: UUID) -> None:
        """End the span of a call."""
        ...

    def forwarded(self, trip: Trip) -> AbstractContextManager[Mapping[str, str]]:
        """Be with what is sent on behalf of a call; give the headers that go with it."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class Handing:
    """Records nothing, and hands on what came."""

    @contextmanager
    def forwarded(self, trip: Trip) -> Iterator[Mapping[str, str]]:
        """Give the context that came."""
        yield trip.span or {}

    def close(self) -> None:
        """Have nothing to send."""

    def call(self, trip: Trip, headers: Mapping[str, str]) -> None:
        """Keep the context that came."""
        trip.span = context_of(headers)

    def caller(self, trip: Trip, identifier: str | None) -> None:
        """Record nothing."""

    def done(self, trip: Trip, call_uuid: UUID) -> None:
        """Record nothing."""


class Tracing:
    """Spans, sent to a collector in the background."""

    def __init__(self, *, service: str, export: Callable[[Any], None] | str) -> None:
        """`export` is the address of a collector (OTLP over HTTP), or a span processor's `on_end` for whoever listens.

        Raises `UsageError` when the extra is not installed.
        """
        try:
            from opentelemetry import trace  # noqa: PLC0415  an extra, loaded where it is asked for
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(
                "TracesMissing",
                "`telemetry.traces` is set, and the OpenTelemetry SDK is not installed.",
                try_this="Install sygefravaer[traces], or remove the setting.",
            ) from error
        self._trace = trace
        self._provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
        if isinstance(export, str):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=export)))
        else:
            self._provider.add_span_processor(_listener(export))
        self._tracer = self._provider.get_tracer("sygefravaer")

    def call(self, trip: Trip, headers: Mapping[str, str]) -> None:
        """Begin the span of a call, under the caller's if he sent one."""
        trip.span = self._tracer.start_span(
            "call", context=self._context(context_of(headers)), kind=self._trace.SpanKind.SERVER
        )

    def caller(self, trip: Trip, identifier: str | None) -> None:
        """Link the call to what its caller calls it, if that can be a trace or an id; else nothing is known of it."""
        if trip.span is None or (link := caller_link(identifier)) is None:
            return
        kind, text = link
        if kind == PARENT:
            remote = self._trace.get_current_span(self._context({PARENT: text})).get_span_context()
            trip.span.add_link(remote)
        trip.span.set_attribute("sygefravaer.callers_service_call_identifier", text)

    def done(self, trip: Trip, call_uuid: UUID) -> None:
        """End the span of a call, with what it came to and its four instants."""
        if trip.span is None:
            return
        trip.span.update_name(trip.operation)
        trip.span.set_attribute("sygefravaer.operation", trip.operation)
        trip.span.set_attribute("sygefravaer.outcome", trip.outcome)
        trip.span.set_attribute("sygefravaer.call_uuid", str(call_uuid))
        for name, instant in trip.instants().items():
            trip.span.set_attribute(f"sygefravaer.{name}_at", instant)
        trip.span.end()

    @contextmanager
    def forwarded(self, trip: Trip) -> Iterator[Mapping[str, str]]:
        """Be a span for what is sent on behalf of a call; give the headers that go with it."""
        span = self._tracer.start_span(
            "forward", context=self._trace.set_span_in_context(trip.span), kind=self._trace.SpanKind.CLIENT
        )
        try:
            context = span.get_span_context()
            flags = f"{int(context.trace_flags):02x}"
            headers = {PARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags}"}
            state = context.trace_state.to_header()
            yield headers | ({STATE: state} if state else {})
        finally:
            span.end()

    def close(self) -> None:
        """Send what is left, within some seconds."""
        self._provider.shutdown()

    def _context(self, headers: Mapping[str, str]) -> Any:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        return TraceContextTextMapPropagator().extract(dict(headers))


def _listener(heard: Callable[[Any], None]) -> Any:
    from opentelemetry.sdk.trace import SpanProcessor  # noqa: PLC0415

    class Listener(SpanProcessor):
        def on_end(self, span: Any) -> None:
            heard(span)

    return Listener()


@contextmanager
def forwarding() -> Iterator[Mapping[str, str]]:
    """
    Note the instants at which the message of the call that is being answered here leaves and is answered.

    Gives the headers that go with it. Outside of a call nothing is noted and nothing goes along.
    """
    trip = TRIP.get()
    if trip is None:
        yield {}
        return
    trip.forward()
    try:
        with trip.tracer.forwarded(trip) as headers:
            yield headers
    finally:
        trip.answer()
