"""Spans as a test reads them: from memory, or from a receiver of OTLP over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from notify_streams.settings_tracing import TracingSettings
from notify_streams.tracing.spans import Spans


@dataclass(frozen=True, slots=True)
class Span:
    """One span; ids in hexadecimal digits."""

    name: str
    trace_id: str
    span_id: str
    #: Empty: it begins its trace.
    parent: str
    began_ns: int
    ended_ns: int
    #: The ids of the spans that it is linked to.
    links: tuple[str, ...]
    attributes: Mapping[str, Any]
    is_error: bool
    #: Of the worker that recorded it.
    resource: Mapping[str, Any]


class SpansInMemory:
    """`spans` records into memory; `read` ends it."""

    def __init__(self, **settings: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.spans = Spans(TracingSettings(**settings), "us", "standard", self._exporter)

    async def read(self) -> list[Span]:
        await self.spans.close()
        return [
            Span(
                one.name,
                f"{one.context.trace_id:032x}",
                f"{one.context.span_id:016x}",
                "" if one.parent is None else f"{one.parent.span_id:016x}",
                one.start_time or 0,
                one.end_time or 0,
                tuple(f"{link.context.span_id:016x}" for link in one.links),
                dict(one.attributes or {}),
                not one.status.is_ok,
                dict(one.resource.attributes),
            )
            for one in self._exporter.get_finished_spans()
        ]


@dataclass
class OtlpReceiver:
    """What arrived at ``/v1/traces``."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    #: Everything that arrived, as it was.
    bodies: list[bytes] = field(default_factory=list)

    def of_trace(self, trace_id: str) -> list[Span]:
        return [one for one in self.spans if one.trace_id == trace_id]

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        body = await request.read()
        self.bodies.append(body)
        self.spans += _read(ExportTraceServiceRequest.FromString(body))
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def otlp_receiver() -> AsyncIterator[OtlpReceiver]:
    """A server on a free port of this machine."""
    receiver = OtlpReceiver()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()


def _read(request: ExportTraceServiceRequest) -> Iterable[Span]:
    for part in request.resource_spans:
        resource = _values(part.resource.attributes)
        for scope in part.scope_spans:
            for one in scope.spans:
                yield Span(
                    one.name,
                    one.trace_id.hex(),
                    one.span_id.hex(),
                    one.parent_span_id.hex(),
                    one.start_time_unix_nano,
                    one.end_time_unix_nano,
                    tuple(link.span_id.hex() for link in one.links),
                    _values(one.attributes),
                    one.status.code == one.status.STATUS_CODE_ERROR,
                    resource,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
