"""One trigger, one trace: from its sender through router, outbox, delivery and provider to the receipt, at a real OTLP endpoint."""

from __future__ import annotations

from tests.e2e.processes import until
from tests.e2e.running_region import RunningRegion
from tests.e2e.trace_reading import assert_says_nothing_of, report_delivered, send_traced, way, whole_trace
from tests.recorded_spans import otlp_receiver

USER = "user-7"


async def test_a_trigger_is_one_trace_from_its_sender_to_the_receipt(running_region: RunningRegion) -> None:
    region = running_region
    roles = ("standard", "push", "receipts")
    async with (
        otlp_receiver() as receiver,
        region.workers_with({"NOTIFY_TRACING__ENDPOINT": receiver.url}, *roles),
    ):
        _, unsampled = await send_traced(region, USER, sampled=False)
        trigger_id, client = await send_traced(region, USER)

        async def is_sent() -> bool:
            return (await region.deliveries(trigger_id, USER)).get("push") == "sent"

        await until(is_sent, "the push is sent")
        await report_delivered(region, region, trigger_id, USER)
        spans = await whole_trace(receiver, client, "receipt", "call", "deliver", "outbox", "decide", "trigger")
        await until(lambda: {"flush", "settle"} <= {one.name for one in receiver.spans}, "the spans that join many")

        (receipt,) = [one for one in spans if one.name == "receipt"]
        assert way(spans, receipt) == [
            "us receipts receipt",
            "us push call",
            "us push deliver",
            "us standard outbox",
            "us standard trigger",
            f"{client.span_id:016x}",
        ]
        trigger = next(one for one in spans if one.name == "trigger")
        assert trigger.attributes["notify.trigger_id"] == trigger_id
        assert trigger.attributes["messaging.destination.name"] == "triggers.payments"

        # The spans that join many are traces of their own, with links in both directions.
        for name, joined in (("outbox", "flush"), ("deliver", "settle")):
            one = next(span for span in spans if span.name == name and span.attributes.get("notify.channel") != "email")
            (link,) = one.links
            (other,) = [span for span in receiver.spans if span.span_id == link]
            assert (other.name, other.parent) == (joined, "") and one.span_id in other.links

        assert receiver.of_trace(f"{unsampled.trace_id:032x}") == []
        assert_says_nothing_of(receiver, USER)
