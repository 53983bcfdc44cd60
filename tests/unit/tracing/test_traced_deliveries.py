"""The spans of deliveries, forwards and receipts: each a child of what caused it, with what joins them linked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from notify_streams.delivery.delivery_spans import DeliverySpans, DeliveryTrace
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.delivery.receipt_spans import ReceiptSpans
from notify_streams.delivery.receipts import Receipt
from notify_streams.errors import StoreUnavailable
from notify_streams.regions.forwarding.forward_spans import ForwardSpans
from notify_streams.regions.forwarding.headers import arrival_headers, forwarded_headers
from notify_streams.tracing.trace_context import TraceContext, new_trace, read_traceparent
from tests.builders import NOON, ARecord, a_batch, a_message
from tests.recorded_spans import Span, SpansInMemory

ACCEPTED = ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider="fcm", detail="HTTP 200")
BUSY = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fcm", detail="HTTP 503", code="UNAVAILABLE")
OUTGOING = Outgoing(delivery_id="n.push", notification_id="n", channel="push", to="token-u-42", body="B")


def of(context: TraceContext) -> str:
    return f"{context.span_id:016x}"


def named(spans: list[Span], name: str) -> list[Span]:
    return [one for one in spans if one.name == name]


def begun(spans: DeliverySpans, outbox: TraceContext) -> DeliveryTrace:
    trace = spans.begin(a_message(traceparent=outbox.traceparent), 1_000)
    assert trace is not None
    return trace


async def test_a_delivery_is_a_child_of_the_outbox_and_its_call_of_the_delivery() -> None:
    memory, outbox = SpansInMemory(), new_trace()
    spans = DeliverySpans(memory.spans, "push", ())
    trace = begun(spans, outbox)
    call = trace.call(OUTGOING, "fcm")
    call.ended(1, ACCEPTED)
    attempt = Attempt(Rank.SENT, 1, provider="fcm")
    spans.settled([(trace, "t-1", 1, attempt)], 2_000, 3_000)
    found = await memory.read()
    (deliver,), (called,), (settle,) = (named(found, name) for name in ("deliver", "call", "settle"))
    assert (deliver.parent, called.parent) == (of(outbox), deliver.span_id)
    assert {deliver.trace_id, called.trace_id} == {f"{outbox.trace_id:032x}"} and settle.trace_id != deliver.trace_id
    assert (deliver.links, settle.links) == ((settle.span_id,), (deliver.span_id,))
    assert (deliver.began_ns, deliver.ended_ns) == (1_000, 3_000)
    assert deliver.attributes["notify.trigger_id"] == "t-1" and deliver.attributes["notify.state"] == "sent"
    assert called.attributes["notify.answer"] == "HTTP 200" and not called.is_error
    assert trace.traceparent == f"00-{deliver.trace_id}-{called.span_id}-01"
    assert "token-u-42" not in repr(found)


async def test_a_call_that_failed_says_so() -> None:
    memory = SpansInMemory()
    spans = DeliverySpans(memory.spans, "push", ())
    trace = begun(spans, new_trace())
    trace.call(OUTGOING, "fcm").ended(2, BUSY)
    spans.settled([(trace, "t-1", 2, Attempt(Rank.RETRYING, 1, provider="fcm"))], 2_000, 3_000)
    found = await memory.read()
    (called,), (deliver,) = named(found, "call"), named(found, "deliver")
    assert called.is_error and called.attributes["notify.code"] == "UNAVAILABLE"
    assert deliver.is_error and deliver.attributes["notify.attempt"] == 2


async def test_several_devices_are_calls_of_one_delivery() -> None:
    memory = SpansInMemory()
    trace = begun(DeliverySpans(memory.spans, "push", ()), new_trace())
    calls = [trace.call(OUTGOING, "fcm") for _ in range(3)]
    for call in calls:
        call.ended(1, ACCEPTED)
    found = await memory.read()
    assert [one.parent for one in found] == [of(trace.deliver)] * 3
    assert len({one.span_id for one in found}) == 3
    # No receipt says of which device it is.
    assert trace.traceparent == trace.deliver.traceparent


@pytest.mark.parametrize(("send_to", "is_sent"), [((), False), (("twilio",), False), (("fcm",), True)])
async def test_a_provider_gets_the_traceparent_only_where_the_settings_say_so(send_to: Any, is_sent: bool) -> None:
    memory = SpansInMemory()
    call = begun(DeliverySpans(memory.spans, "push", send_to), new_trace()).call(OUTGOING, "fcm")
    assert call.outgoing.traceparent == (call.context.traceparent if is_sent else None)
    await memory.read()


@pytest.mark.parametrize("traceparent", ["", "00-1", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
async def test_a_message_without_a_valid_trace_has_none(traceparent: str) -> None:
    memory = SpansInMemory()
    assert DeliverySpans(memory.spans, "push", ()).begin(a_message(traceparent=traceparent), 1) is None
    assert await memory.read() == []


def on_its_way(*headers: tuple[str, bytes | None], target: str = "triggers.forwarded") -> ARecord:
    return ARecord(b"{}", b"u-42", forwarded_headers(headers, "us", target), timestamp=1_000)  # type: ignore[arg-type]


async def test_a_forwarded_trigger_names_the_forward_as_its_parent() -> None:
    memory, outbox, other = SpansInMemory(), new_trace(), new_trace()
    header = ("traceparent", outbox.traceparent.encode())
    batch: Any = a_batch(
        on_its_way(header, ("x", b"1")),
        on_its_way(("x", b"2")),
        on_its_way(("traceparent", other.not_sampled().traceparent.encode())),
        on_its_way(header, target="user_contacts"),
        on_its_way(("traceparent", b"00-1")),
        topic="forward.eu",
    )
    spans = ForwardSpans(memory.spans, "eu")
    sent, traces = spans.begin(batch)
    spans.end(sent, traces)
    found = await memory.read()
    (forward,), (send,) = named(found, "forward"), named(found, "send")
    assert (forward.parent, forward.links, send.links) == (of(outbox), (send.span_id,), (forward.span_id,))
    assert (sent.start, sent.end, len(sent.records)) == (batch.start, batch.end, 5)
    assert list(sent.records[1:]) == list(batch.records[1:])
    topic, headers = arrival_headers(sent.records[0].headers)
    context = read_traceparent(headers)
    assert topic == "triggers.forwarded" and ("x", b"1") in headers
    assert context is not None and of(context) == forward.span_id


async def test_a_batch_without_a_trace_is_sent_as_it_is() -> None:
    memory = SpansInMemory()
    batch: Any = a_batch(on_its_way(("x", b"1")), topic="forward.eu")
    spans = ForwardSpans(memory.spans, "eu")
    sent, traces = spans.begin(batch)
    spans.end(sent, traces)
    assert sent is batch and await memory.read() == []


class Attempts:
    """`AttemptReader` with these documents; None: the shard does not answer."""

    def __init__(self, documents: list[dict[str, Any]] | None) -> None:
        self._documents = documents

    async def documents(self, bucket: int, keys: Any) -> list[dict[str, Any]]:
        if self._documents is None:
            raise StoreUnavailable("shard 0 does not answer")
        return self._documents


def an_attempt(number: int, traceparent: str | None) -> dict[str, Any]:
    attempt = Attempt(Rank.SENT, number, provider="fcm")
    return attempt_document(KEY, 3, number, Phase.CALL, b"own", attempt, traceparent)


KEY = delivery_key("n.push", NOON.timestamp())
OUTBOX, FIRST, SECOND = new_trace(), new_trace(), new_trace()
CALLS = [an_attempt(1, FIRST.traceparent), an_attempt(2, SECOND.traceparent)]


@pytest.mark.parametrize(
    ("documents", "number", "parent"),
    [
        pytest.param(CALLS, 1, FIRST, id="of the first call"),
        pytest.param(CALLS, 0, SECOND, id="of a call that it does not name"),
        pytest.param([], 1, OUTBOX, id="before the call is stored"),
        pytest.param([an_attempt(1, None)], 1, OUTBOX, id="of a call that was not traced"),
        pytest.param(None, 1, OUTBOX, id="while the shard does not answer"),
    ],
)
async def test_a_receipt_is_a_child_of_its_call(documents: Any, number: int, parent: TraceContext) -> None:
    memory, reader = SpansInMemory(), Attempts(documents)
    receipt = Receipt("n.push", "failed", datetime(2026, 11, 22, tzinfo=UTC), number, "fcm", "X", "bounced")
    notification = {"bucket": 3, "decided_at": NOON, "trigger_id": "t-1", "traceparent": OUTBOX.traceparent}
    untraced = {name: value for name, value in notification.items() if name != "traceparent"}
    await ReceiptSpans(memory.spans, reader).add([(notification, receipt), (untraced, receipt)], 1_000)  # type: ignore[arg-type]
    (found,) = await memory.read()
    assert (found.parent, found.trace_id) == (of(parent), f"{parent.trace_id:032x}")
    assert found.is_error and found.attributes["notify.reason"] == "bounced"


def test_an_attempt_that_is_not_traced_is_stored_as_before() -> None:
    assert an_attempt(1, None).keys() == {"_id", "bucket", "p"}
