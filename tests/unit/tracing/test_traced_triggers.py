"""The spans of a trigger in the router and the outbox, and what its records carry on."""

from __future__ import annotations

from typing import Any

import pytest

from notify_streams.outbox.flush_spans import FlushSpans
from notify_streams.records.channel_message import read_channel_message
from notify_streams.routing.router import Router
from notify_streams.routing.trigger_traces import TriggerTraces
from notify_streams.settings_tracing import TracingSettings
from notify_streams.tracing.trace_context import parse_traceparent, read_traceparent
from tests.builders import AckRecorder, ARecord, FakePlacements, a_batch, document_of
from tests.recorded_spans import Span, SpansInMemory
from tests.unit.routing.routing_fixtures import CATEGORIES, HERE, SETTINGS, TEMPLATES, for_user, known_people
from tests.unit.tracing.test_trace_context import MALFORMED, SPAN, TRACE, VALID

UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


def a_record(user_id: str = HERE[0], traceparent: str | bytes | None = VALID, **but: Any) -> ARecord:
    raw = traceparent.encode() if isinstance(traceparent, str) else traceparent
    headers = (("baggage", b"user=ann"), ("traceparent", raw))
    return ARecord(for_user(user_id, **but), headers=headers, timestamp=1_000)


async def decided(*records: ARecord, traces: TriggerTraces | None = None, **settings: Any) -> Any:
    """The batch, decided with tracing; a setting given as `off` decides without."""
    traces = None if settings.pop("off", False) else traces or TriggerTraces(TracingSettings(**settings))
    router = Router(
        SETTINGS,
        CATEGORIES,
        TEMPLATES,
        "standard",
        known_people(),
        FakePlacements(),
        traces=traces,
    )
    batch: Any = a_batch(*records)
    return await router.decide_batch(batch, AckRecorder())


async def spans_of(*batches: Any) -> list[Span]:
    memory = SpansInMemory()
    FlushSpans(memory.spans, 1).add(batches, 2_000_000_000, 3_000_000_000)
    return await memory.read()


def one_named(spans: list[Span], name: str) -> Span:
    (found,) = [one for one in spans if one.name == name]
    return found


async def test_a_trigger_has_its_spans_below_the_senders() -> None:
    batch = await decided(a_record(id="t-7"))
    spans = await spans_of(batch)
    trigger, decide, outbox = (one_named(spans, name) for name in ("trigger", "decide", "outbox"))
    assert {one.trace_id for one in (trigger, decide, outbox)} == {TRACE}
    assert (trigger.parent, decide.parent, outbox.parent) == (SPAN, trigger.span_id, trigger.span_id)
    assert trigger.began_ns == 1_000 * 1_000_000
    assert trigger.attributes["notify.trigger_id"] == "t-7" and trigger.attributes["notify.outcome"] == "notified"

    # A flush joins many triggers: it is a trace of its own, and they link to each other.
    flush = one_named(spans, "flush")
    assert (flush.parent, flush.links, outbox.links) == ("", (outbox.span_id,), (flush.span_id,))
    assert [one_named(spans, name).parent for name in ("commit", "publish")] == [flush.span_id] * 2
    assert flush.trace_id != TRACE

    # What follows is a child of the outbox.
    (entry,) = batch.entries
    for _, _, _, value, headers in entry.outputs:
        message = read_channel_message(value)
        assert message.traceparent == dict(headers)["traceparent"].decode() == f"00-{TRACE}-{outbox.span_id}-01"
    assert document_of(entry)["traceparent"] == f"00-{TRACE}-{outbox.span_id}-01"


@pytest.mark.parametrize(
    ("record", "outcome", "is_error"),
    [
        pytest.param(a_record(HERE[3]), "forwarded", False, id="forwarded"),
        pytest.param(a_record(HERE[4]), "dead", True, id="dead"),
        pytest.param(ARecord(b"{", headers=(("traceparent", VALID.encode()),)), "dead", True, id="not to be read"),
        pytest.param(a_record("stranger of this bucket"), "repartitioned", False, id="repartitioned"),
    ],
)
async def test_every_copy_is_a_child_of_the_outbox(record: ARecord, outcome: str, is_error: bool) -> None:
    batch = await decided(record)
    spans = await spans_of(batch)
    assert one_named(spans, "trigger").attributes["notify.outcome"] == outcome
    assert one_named(spans, "trigger").is_error is is_error
    ((_, _, _, _, headers),) = batch.entries[0].outputs
    context = read_traceparent(headers)
    assert context is not None and f"{context.span_id:016x}" == one_named(spans, "outbox").span_id


async def test_a_waiting_trigger_keeps_its_trace() -> None:
    batch = await decided(ARecord(for_user(HERE[4]), headers=(("traceparent", VALID.encode()),), timestamp=2**42))
    (entry,) = batch.entries
    assert entry.outcome.value == "waiting"
    (outbox,) = [one for one in await spans_of(batch) if one.name == "outbox"]
    assert entry.timer is not None and outbox.span_id.encode() in entry.timer["record"]


@pytest.mark.parametrize("traceparent", [pytest.param(UNSAMPLED, id="not sampled"), *MALFORMED])
async def test_what_is_not_sampled_or_malformed_is_not_traced(traceparent: Any) -> None:
    record = a_record(traceparent=traceparent[:5_000] if traceparent else traceparent)
    batch, off = await decided(record), await decided(record, off=True)
    assert batch.traced is None
    assert [one[4] for one in batch.entries[0].outputs] == [one[4] for one in off.entries[0].outputs]
    assert all(not read_channel_message(one[3]).traceparent for one in batch.entries[0].outputs)
    assert "traceparent" not in document_of(batch.entries[0])
    assert await spans_of(batch) == []


async def test_off_leaves_headers_as_they_are_and_records_nothing() -> None:
    batch = await decided(a_record(), off=True)
    (entry,) = batch.entries
    assert batch.traced is None and "traceparent" not in document_of(entry)
    for _, _, _, value, headers in entry.outputs:
        assert ("traceparent", VALID.encode()) in headers
        assert not read_channel_message(value).traceparent


@pytest.mark.parametrize(("ratio", "traced"), [(0.0, 0), (1.0, 5)])
async def test_triggers_without_a_traceparent_are_drawn(ratio: float, traced: int) -> None:
    records = [ARecord(for_user(HERE[0], id=f"t-{number}")) for number in range(5)]
    spans = await spans_of(await decided(*records, sample_ratio=ratio))
    triggers = [one for one in spans if one.name == "trigger"]
    assert len(triggers) == len({one.trace_id for one in triggers}) == traced
    assert all(one.parent == "" for one in triggers)


async def test_the_sampled_flag_counts_whatever_the_ratio() -> None:
    batch = await decided(a_record(traceparent=UNSAMPLED), sample_ratio=1.0)
    assert batch.traced is None


async def test_no_more_triggers_are_traced_in_a_second_than_the_limit() -> None:
    now = 0.0
    traces = TriggerTraces(TracingSettings(max_triggers_per_s=2), lambda: now)
    records = [a_record(id=f"t-{number}") for number in range(5)]
    batch = await decided(*records, traces=traces)
    flags = [read_traceparent(entry.outputs[0][4]) for entry in batch.entries]
    assert [one.sampled for one in flags if one is not None] == [True, True, False, False, False]
    assert all(one is not None and f"{one.trace_id:032x}" == TRACE for one in flags)
    now = 0.5
    batch = await decided(*records, traces=traces)
    assert sum(bool(parse_traceparent(document_of(one).get("traceparent"))) for one in batch.entries) == 1


async def test_attributes_tell_nothing_of_a_person() -> None:
    user_id = HERE[0]
    title, body = "A secret title", "A secret text"
    batch = await decided(a_record(user_id, template=..., title=title, body=body, data={"amount": "77.77"}))
    for one in await spans_of(batch):
        shown = repr((one.attributes, one.resource))
        for text in (user_id, title, body, "77.77", f"token-{user_id}", "example.org", "ann"):
            assert text not in shown
