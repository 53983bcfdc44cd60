"""Rows are published in order; a retry repeats only unacknowledged ones."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from notify_streams.errors import RetryLater
from notify_streams.outbox.flush_plan import OutboxRow, plan_flush
from notify_streams.outbox.publisher import publish, publish_in_time, rows_by_partition
from notify_streams.routing.outcome_records import repartitioned
from notify_streams.transport import RecordTooLarge
from tests.builders import NOON, ARecord, a_decided_batch


class Broker:
    """Records batches. `errors` are raised for a topic's next batches; `gate` holds a topic's batches back."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes]] = []
        self.errors: dict[str, list[BaseException]] = {}
        self.gate: dict[str, asyncio.Event] = {}
        self.in_progress = 0

    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        self.in_progress += 1
        try:
            await asyncio.sleep(0)
            if topic in self.gate:
                await self.gate[topic].wait()
            if self.errors.get(topic):
                raise self.errors[topic].pop(0)
            self.sent.append((topic, partition, records[0][1][:3]))
        finally:
            self.in_progress -= 1


def rows(*topics: str, parts: int = 1) -> Sequence[OutboxRow]:
    """`parts` rows for each topic, each with one record that begins with its number."""
    big = 5_000_000
    entries = [
        repartitioned(ARecord(b"%03d" % part + b"." * big if parts > 1 else b"000"), topic, 0, 3, "u")
        for part in range(parts)
        for topic in topics
    ]
    return plan_flush("f", "standard", [a_decided_batch(*entries)], NOON).rows


async def test_rows_of_a_partition_are_sent_in_order() -> None:
    broker = Broker()
    await publish(broker, rows_by_partition(rows("a", "b", parts=3)))
    for topic in ("a", "b"):
        assert [value for sent_topic, _, value in broker.sent if sent_topic == topic] == [b"000", b"001", b"002"]


async def test_after_an_error_only_missing_rows_are_sent_again() -> None:
    broker = Broker()
    broker.errors = {"a": [ConnectionError("gone")]}
    grouped = rows_by_partition(rows("a", "b", "c"))
    with pytest.raises(ConnectionError):
        await publish(broker, grouped)
    await publish(broker, grouped)
    assert sorted(broker.sent) == [("a", 3, b"000"), ("b", 3, b"000"), ("c", 3, b"000")]


async def test_an_error_is_raised_after_all_sends_have_ended() -> None:
    """A first attempt that runs beside its retry could write an old record after a newer one."""
    broker = Broker()
    broker.errors = {"a": [ConnectionError("gone")]}
    broker.gate = {"b": asyncio.Event()}
    task = asyncio.create_task(publish(broker, rows_by_partition(rows("a", "b"))))
    for _ in range(9):
        await asyncio.sleep(0)
    assert not broker.errors["a"]
    assert not task.done() and broker.in_progress == 1
    broker.gate["b"].set()
    with pytest.raises(ConnectionError):
        await task
    assert broker.in_progress == 0


async def test_a_cancelled_publication_ends_with_all_its_sends() -> None:
    broker = Broker()
    broker.gate = {"a": asyncio.Event(), "b": asyncio.Event()}
    grouped = rows_by_partition(rows("a", "b"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await publish(broker, grouped)
    assert broker.in_progress == 0
    assert all(grouped.values())


async def test_a_batch_cancelled_by_the_producer_raises_retry_later() -> None:
    broker = Broker()
    broker.errors = {"a": [asyncio.CancelledError()]}
    with pytest.raises(RetryLater):
        await publish(broker, rows_by_partition(rows("a")))


async def test_a_producer_that_hangs_is_given_up() -> None:
    broker = Broker()
    broker.gate = {"a": asyncio.Event()}
    with pytest.raises(TimeoutError):
        await publish_in_time(broker, rows_by_partition(rows("a")), 0.01)


async def test_rows_of_many_kafka_batches_may_take_longer_than_one() -> None:
    """A cancelled send is written all the same, so each further attempt would be another copy."""
    broker = Broker()
    broker.gate = {"a": asyncio.Event()}
    publishing = asyncio.create_task(publish_in_time(broker, rows_by_partition(rows("a", parts=3)), 0.05))
    await asyncio.wait([publishing], timeout=0.2)
    broker.gate["a"].set()
    await publishing
    assert [value for _, _, value in broker.sent] == [b"000", b"001", b"002"]


async def test_records_before_one_that_is_too_large_are_not_sent_again() -> None:
    broker = Broker()
    broker.errors = {"a": [RecordTooLarge("a", 3, index=1, size=9, limit=8, sent=1)]}
    entries = [repartitioned(ARecord(b"%03d" % number), "a", 0, 3, "u") for number in range(3)]
    grouped = rows_by_partition(plan_flush("f", "standard", [a_decided_batch(*entries)], NOON).rows)
    await publish(broker, grouped)
    assert broker.sent == [("dead_letters", 3, b"001"), ("a", 3, b"002")]


async def test_without_rows_nothing_is_sent() -> None:
    broker = Broker()
    await publish(broker, rows_by_partition([]))
    await publish_in_time(broker, rows_by_partition([]), 1.0)
    assert broker.sent == []
