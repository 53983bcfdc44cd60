"""Spans are sent beside the work: whatever the endpoint does, nothing waits for it and what is lost is counted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from socket import create_server
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from notify_streams import metrics
from notify_streams.errors import SettingsError
from notify_streams.settings_tracing import TracingSettings
from notify_streams.tracing.spans import MAX_LINKS, Spans, endpoint_of
from notify_streams.tracing.start import start_tracing
from notify_streams.tracing.trace_context import new_trace
from tests.builders import some_settings
from tests.recorded_spans import SpansInMemory, otlp_receiver
from tests.waiting import until


def counted(result: str) -> float:
    return metrics.REGISTRY.get_sample_value("notify_spans_total", {"result": result}) or 0.0


class StuckExporter(SpanExporter):
    """Takes nothing until `free` is set."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.asked = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.free.wait(20)
        return SpanExportResult.SUCCESS


async def test_a_span_is_recorded_with_its_ids_parent_links_and_times() -> None:
    memory = SpansInMemory()
    parent = new_trace()
    one, other = parent.child(), new_trace()
    memory.spans.add("decide", one, parent, 1_000, 2_000, links=[other], notify__shard=1, notify__code=None)
    memory.spans.add("call", other, None, 5_000, 4_000, kind="client", error="retry")
    decide, call = await memory.read()
    assert (decide.trace_id, decide.span_id) == (f"{parent.trace_id:032x}", f"{one.span_id:016x}")
    assert (decide.parent, decide.links) == (f"{parent.span_id:016x}", (f"{other.span_id:016x}",))
    assert (decide.began_ns, decide.ended_ns, decide.attributes) == (1_000, 2_000, {"notify.shard": 1})
    assert (call.parent, call.is_error, call.began_ns, call.ended_ns) == ("", True, 5_000, 5_000)
    assert {"service.name": "notify-standard", "notify.region": "us"}.items() <= decide.resource.items()


async def test_links_are_bounded() -> None:
    memory = SpansInMemory()
    memory.spans.add("flush", new_trace(), None, 1, 2, links=[new_trace() for _ in range(MAX_LINKS + 9)])
    (flush,) = await memory.read()
    assert len(flush.links) == MAX_LINKS


async def test_while_the_endpoint_hangs_spans_are_dropped_and_counted_and_nothing_waits() -> None:
    exporter, dropped = StuckExporter(), counted("dropped")
    spans = Spans(TracingSettings(max_waiting_spans=1_000), "us", "standard", exporter)
    began = time.monotonic()
    for _ in range(3_000):
        spans.add("trigger", new_trace(), None, 1, 2)
    await asyncio.to_thread(exporter.asked.wait, 10)
    assert counted("dropped") - dropped >= 1_000
    assert time.monotonic() - began < 5
    began = time.monotonic()
    await spans.close()
    assert time.monotonic() - began < 1
    exporter.free.set()


@pytest.mark.parametrize("answers", [False, True], ids=["refused", "silent"])
async def test_an_endpoint_that_is_away_costs_spans_alone(answers: bool) -> None:
    """The second one accepts connections and says nothing."""
    failed = counted("failed")
    with closing(create_server(("127.0.0.1", 0))) as server:
        if not answers:
            server.close()
            port = 9
        else:
            port = server.getsockname()[1]
        spans = Spans(TracingSettings(endpoint=f"http://127.0.0.1:{port}", timeout_s=0.2), "us", "standard")
        spans.add("trigger", new_trace(), None, 1, 2)
        await until(lambda: counted("failed") > failed, within_s=20)
        began = time.monotonic()
        await spans.close()
        assert time.monotonic() - began < 1


async def test_spans_arrive_by_otlp_over_http() -> None:
    async with otlp_receiver() as receiver:
        spans = Spans(TracingSettings(endpoint=receiver.url), "eu", "push")
        one = new_trace()
        spans.add("deliver", one, None, 1_000, 2_000, notify__attempt=1)
        await until(lambda: receiver.spans, within_s=20)
        await spans.close()
    (found,) = receiver.spans
    assert (found.name, found.trace_id, found.attributes) == ("deliver", f"{one.trace_id:032x}", {"notify.attempt": 1})
    assert found.resource["notify.role"] == "push"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://host/otlp", "https://host/otlp/v1/traces"),
        ("https://host/v1/traces", "https://host/v1/traces"),
    ],
)
def test_the_path_of_the_endpoint_may_be_left_out(endpoint: str, url: str) -> None:
    assert endpoint_of(TracingSettings(endpoint=endpoint)) == url


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://user:pass@collector:4318"])
def test_an_endpoint_must_be_an_address(endpoint: str) -> None:
    assert list(TracingSettings(endpoint=endpoint).problems()) != []


def test_without_an_endpoint_nothing_is_started_and_nothing_is_imported() -> None:
    assert start_tracing(some_settings(), "standard") is None
    code = (
        "import sys, tests.builders as builders\n"
        "from notify_streams.app import build_app\n"
        "for role in ('standard', 'forward', 'receipts'):\n"
        "    build_app(builders.some_settings(), role)\n"
        # redis-py looks for the SDK by itself.
        "print([name for name in sys.modules if name.startswith(('opentelemetry.exporter', 'notify_streams.tracing.span'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "notify_streams.tracing.spans")
    missing: Any = None
    monkeypatch.setitem(sys.modules, "opentelemetry.context", missing)
    with pytest.raises(SettingsError, match=r"notify-streams\[tracing\]"):
        start_tracing(some_settings(tracing={"endpoint": "http://127.0.0.1:4318"}), "standard")
