"""Both latencies count from the first entry of the trigger, in whichever region."""

from datetime import UTC, datetime, timedelta

import pytest

from notify_streams import metrics
from notify_streams.delivery.receipts import ReceiptProgress
from notify_streams.records.ids import notification_id
from tests.builders import ABatch, ARecord
from tests.integration.delivery.delivery_fixtures import BUCKET, DeliveryEnvironment, Provider, receipt_writer

LABELS = {"lane": "standard", "channel": "push"}
DECIDED_AT = datetime(2026, 11, 22, 11, 59, 58, tzinfo=UTC)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def entered(at: datetime, first: datetime | None = None) -> ARecord:
    """The record of a trigger that Kafka took at `at`; `first`: forwarded, and it entered its first topic then."""
    copied = () if first is None else (("source", b"triggers.payments:3:17"), ("origin_ms", b"%d" % ms(first)))
    return ARecord(b"{}", headers=copied, timestamp=ms(at))


def values(name: str) -> tuple[float, float]:
    """Number and sum of the observed seconds."""
    count, total = (
        metrics.REGISTRY.get_sample_value(f"notify_trigger_to_{name}_seconds_{one}", LABELS) or 0.0
        for one in ("count", "sum")
    )
    return count, total


@pytest.mark.parametrize(
    ("before_s", "forwarded_s", "waited_s"), [(58.0, None, 60.0), (58.0, 118.0, 120.0)], ids=["own", "forwarded"]
)
async def test_from_the_trigger_to_the_delivery(
    env: DeliveryEnvironment, before_s: float, forwarded_s: float | None, waited_s: float
) -> None:
    first = None if forwarded_s is None else DECIDED_AT - timedelta(seconds=forwarded_s)
    record = entered(DECIDED_AT - timedelta(seconds=before_s), first)
    await env.notify("t", record=record, now=DECIDED_AT)
    count, total = values("delivered")
    delivery = f"{notification_id('t', 'u-42', 'payments')}.push"
    receipt = b'{"delivery_id":"%s","state":"delivered","at":"2026-11-22T12:00:00Z"}' % delivery.encode()
    for _ in range(2):  # a repetition counts once
        await receipt_writer(env.shards).apply(
            ABatch([ARecord(receipt)], topic="receipts", partition=BUCKET), ReceiptProgress()
        )
    assert values("delivered") == pytest.approx((count + 1, total + waited_s), abs=0.01)


@pytest.mark.parametrize(
    ("before_s", "forwarded_s", "waited_s"), [(60.0, None, 60.0), (60.0, 120.0, 120.0)], ids=["own", "forwarded"]
)
async def test_from_the_trigger_to_the_provider(
    env: DeliveryEnvironment, before_s: float, forwarded_s: float | None, waited_s: float
) -> None:
    now = datetime.now(UTC)
    first = None if forwarded_s is None else now - timedelta(seconds=forwarded_s)
    batch = await env.notify("t", record=entered(now - timedelta(seconds=before_s), first))
    count, total = values("provider")
    async with env.engine(Provider()) as engine:
        await engine.deliver(batch)
    after = values("provider")
    assert after[0] == count + 1 and after[1] - total == pytest.approx(waited_s, abs=10.0)
