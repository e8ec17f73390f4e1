# SPDX-License-Identifier: MPL-2.0
"""
Traces (OpenTelemetry): the trace of a caller goes on through this part, by the HTTP header `traceparent` (W3C).

Without a collector in the settings nothing is kept, and a caller's `traceparent` still goes on to whoever is asked.
With one (`telemetry.traces`), spans go there over OTLP/HTTP in batches, from a thread of their own; what it does not
take is dropped. The library that does so is an extra: `sygefravaer[traces]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sygefravaer.errors import UsageError
from sygefravaer.telemetry.calls import OK, Call, current

_W3C: Final = TraceContextTextMapPropagator()
_HEADERS: Final = ("traceparent", "tracestate")
_NOBODY: Final = trace.NoOpTracer()

_tracers: list[Tracer] = []
"""The tracer of this process: of the part that was started last, and nobody's when there is none."""


class Traces:
    """Sends spans to a collector, until closed."""

    def __init__(self, url: str, *, part: str, name: str, version: str, ratio: float = 1.0) -> None:
        """`ratio` of the traces that begin here are kept; of those that a caller began, what he keeps."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(
                "ExtraMissing",
                "`telemetry.traces` is set, and what sends traces is not installed.",
                try_this="Install `sygefravaer[traces]`, or remove the setting.",
            ) from error
        resource = Resource.create(
            {"service.name": f"sygefravaer-{part}", "service.instance.id": name, "service.version": version}
        )
        self._provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(ratio)))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
        self._tracer = self._provider.get_tracer("sygefravaer", version)
        _tracers.append(self._tracer)

    def close(self) -> None:
        """Send what is left, for a moment, and stop; it blocks."""
        if self._tracer in _tracers:
            _tracers.remove(self._tracer)
        self._provider.shutdown()


def _tracer() -> Tracer:
    return _tracers[-1] if _tracers else _NOBODY


@contextmanager
def asked(headers: Mapping[str, str], call_uuid: UUID) -> Iterator[None]:
    """Be in the caller's trace, and be a span of it, while a call is answered."""
    given = {name: headers[name] for name in _HEADERS if name in headers}
    if not given and not _tracers:
        yield
        return
    parent: Context = _W3C.extract(given)
    with _tracer().start_as_current_span("call", context=parent, kind=SpanKind.SERVER) as span:
        try:
            yield
        finally:
            _tell(span, current(), call_uuid)


@contextmanager
def attempted(operation: str, **about: object) -> Iterator[None]:
    """Be a span while something is asked of another: a child of the call that it is done for, or a trace of its own."""
    if not _tracers:
        yield
        return
    attributes: dict[str, Any] = {f"sygefravaer.{name}": str(value) for name, value in about.items()}
    with _tracer().start_as_current_span(operation, kind=SpanKind.CLIENT, attributes=attributes):
        yield


def outgoing() -> dict[str, str]:
    """Give the headers that take the current trace further; none outside of a trace."""
    headers: dict[str, str] = {}
    _W3C.inject(headers)
    return headers


def _tell(span: Span, call: Call | None, call_uuid: UUID) -> None:
    if not span.is_recording():
        return
    span.set_attribute("sygefravaer.call_uuid", str(call_uuid))
    if call is None:
        return
    span.update_name(call.operation)
    span.set_attribute("sygefravaer.code", call.code)
    if call.identifier is not None:
        span.set_attribute("sygefravaer.callers_service_call_identifier", call.identifier)
    if call.code != OK:
        span.set_status(Status(StatusCode.ERROR, call.code))
