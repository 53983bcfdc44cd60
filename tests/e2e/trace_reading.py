"""What a test of traces sends, and the way of a trigger that it reads."""

from __future__ import annotations

from collections.abc import Sequence

from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.tracing.trace_context import TraceContext, new_trace
from tests.builders import trigger_json
from tests.e2e.processes import until
from tests.e2e.running_region import RunningRegion, a_new_id
from tests.log_leaks import SENDERS_TEXT
from tests.recorded_spans import OtlpReceiver, Span


async def send_traced(region: RunningRegion, user_id: str, *, sampled: bool = True) -> tuple[str, TraceContext]:
    """Send a trigger as a traced client does; its id, and the client's span."""
    client = new_trace() if sampled else new_trace().not_sampled()
    trigger_id = a_new_id("traced")
    headers = [("baggage", b"user=" + user_id.encode()), ("traceparent", client.traceparent.encode())]
    await region.send("triggers.payments", trigger_json(id=trigger_id, user_id=user_id), key=user_id, headers=headers)
    return trigger_id, client


async def report_delivered(receiver: RunningRegion, home: RunningRegion, trigger_id: str, user_id: str) -> None:
    """The push of a trigger was delivered; the provider says so to `receiver`."""
    delivery = delivery_id(notification_id(trigger_id, user_id, "payments"), "push")
    marks = {"delivery_id": delivery, "region": home.settings.region, "bucket": home.bucket(user_id), "attempt": 1}
    assert await receiver.report("delivery.delivered", **marks, provider="fcm") == 200


async def whole_trace(receiver: OtlpReceiver, client: TraceContext, *names: str) -> list[Span]:
    """Wait until the trace of a client has spans of all these names."""

    async def is_there() -> bool:
        return set(names) <= {one.name for one in receiver.of_trace(f"{client.trace_id:032x}")}

    await until(is_there, f"spans {names}")
    return receiver.of_trace(f"{client.trace_id:032x}")


def way(spans: Sequence[Span], last: Span) -> list[str]:
    """From `last` up to the client: ``role name`` of each span."""
    by_id = {one.span_id: one for one in spans}
    found = []
    one: Span | None = last
    while one is not None:
        found.append(f"{one.resource['notify.region']} {one.resource['notify.role']} {one.name}")
        last, one = one, by_id.get(one.parent)
    return [*found, last.parent]


def assert_says_nothing_of(receiver: OtlpReceiver, user_id: str) -> None:
    """No request to the endpoint has a user id, a contact, baggage or a text."""
    for body in receiver.bodies:
        for secret in (user_id, f"token-{user_id}", "example.org", "baggage", SENDERS_TEXT, "12.50"):
            assert secret.encode() not in body
