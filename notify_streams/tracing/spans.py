"""Records spans with ids that were drawn before, and times that are past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from notify_streams import __version__, tasks
from notify_streams.tracing.span_queue import SpanQueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace.export import SpanExporter

    from notify_streams.settings_tracing import TracingSettings
    from notify_streams.tracing.trace_context import TraceContext

#: The default limit of OpenTelemetry.
MAX_LINKS: Final = 128
_PATH: Final = "/v1/traces"
_NONE: Final = Context()
#: A worker stops within a second, whether the endpoint answers or not.
_CLOSE_S: Final = 0.4
_KINDS: Final = {
    "internal": SpanKind.INTERNAL,
    "consumer": SpanKind.CONSUMER,
    "producer": SpanKind.PRODUCER,
    "client": SpanKind.CLIENT,
}

Kind = Literal["internal", "consumer", "producer", "client"]


class Spans:
    """The spans of one worker. Adding one does not wait and raises nothing."""

    def __init__(self, settings: TracingSettings, region: str, role: str, exporter: SpanExporter | None = None) -> None:
        """`exporter`: default: OTLP to `settings.endpoint`."""
        if exporter is None:
            exporter = OTLPSpanExporter(endpoint_of(settings), timeout=settings.timeout_s)
        self._ids = _DrawnIds()
        self._queue = SpanQueue(exporter, settings.max_waiting_spans)
        names = {"service.name": f"notify-{role}", "service.version": __version__}
        resource = Resource.create({**names, "notify.region": region, "notify.role": role})
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(self._queue)
        self._tracer = provider.get_tracer("notify_streams", __version__)

    def add(
        self,
        name: str,
        context: TraceContext,
        parent: TraceContext | None,
        began_ns: int,
        ended_ns: int,
        *,
        kind: Kind = "internal",
        links: Sequence[TraceContext] = (),
        error: str | None = None,
        **attributes: str | int | float | bool | None,
    ) -> None:
        """Record a span.

        Args:
            began_ns, ended_ns: nanoseconds since the epoch. Clocks differ: a span that would end before it began has no length.
            links: other spans that it belongs to; `MAX_LINKS` of them are recorded.
            error: why it failed; None: it did not.
            attributes: dots are written as two underscores; None is left out.
        """
        self._ids.trace_id, self._ids.span_id = context.trace_id, context.span_id
        span = self._tracer.start_span(
            name,
            _NONE if parent is None else set_span_in_context(NonRecordingSpan(_remote(parent)), _NONE),
            _KINDS[kind],
            _named(attributes),
            [Link(_remote(one)) for one in links[:MAX_LINKS]],
            began_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(max(began_ns, ended_ns))

    async def close(self) -> None:
        """Send what waits, within `_CLOSE_S`."""
        await tasks.in_thread(self._queue.close, _CLOSE_S)


class _DrawnIds(RandomIdGenerator):
    """Gives the next span the ids that its record carries already."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


def endpoint_of(settings: TracingSettings) -> str:
    """Where the spans are sent."""
    base = (settings.endpoint or "").rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def _remote(context: TraceContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _named(attributes: Mapping[str, str | int | float | bool | None]) -> dict[str, str | int | float | bool]:
    return {name.replace("__", "."): value for name, value in attributes.items() if value is not None}
