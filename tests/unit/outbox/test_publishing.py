"""Rows go out in order a partition, and a repetition repeats no more than it must."""

import asyncio
from typing import Any

import pytest

from notify_streams.errors import RetryLater
from notify_streams.outbox.flush_plan import plan_flush
from notify_streams.outbox.publisher import publish, rows_by_partition
from notify_streams.routing.outcome_records import repartitioned
from tests.builders import NOON, ARecord, a_decided_batch


class Broker:
    """Takes batches; `troubles` are raised for a topic's next batches; `gate` holds a topic's batches back."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int, bytes]] = []
        self.troubles: dict[str, list[BaseException]] = {}
        self.gate: dict[str, asyncio.Event] = {}
        self.under_way = 0

    async def send_batch(self, topic: Any, partition: Any, records: Any) -> None:
        self.under_way += 1
        try:
            await asyncio.sleep(0)
            if topic in self.gate:
                await self.gate[topic].wait()
            if self.troubles.get(topic):
                raise self.troubles[topic].pop(0)
            self.taken.append((topic, partition, records[0][1][:3]))
        finally:
            self.under_way -= 1


def rows(*topics: str, parts: int = 1) -> Any:
    """`parts` rows for each topic, for each a record that says which it is."""
    big = 5_000_000
    entries = [
        repartitioned(ARecord(b"%03d" % part + b"." * big if parts > 1 else b"000"), topic, 0, 3, "u")
        for part in range(parts)
        for topic in topics
    ]
    return plan_flush("f", "standard", [a_decided_batch(*entries)], NOON).rows


async def test_rows_of_a_partition_go_one_after_the_other() -> None:
    broker = Broker()
    await publish(broker, rows_by_partition(rows("a", "b", parts=3)))
    for topic in ("a", "b"):
        assert [said for name, _, said in broker.taken if name == topic] == [b"000", b"001", b"002"]


async def test_after_an_error_only_what_is_missing_is_sent_again() -> None:
    broker = Broker()
    broker.troubles = {"a": [ConnectionError("gone")]}
    lanes = rows_by_partition(rows("a", "b", "c"))
    with pytest.raises(ConnectionError):
        await publish(broker, lanes)
    await publish(broker, lanes)
    assert sorted(broker.taken) == [("a", 3, b"000"), ("b", 3, b"000"), ("c", 3, b"000")]


async def test_when_it_fails_nothing_is_under_way_any_more() -> None:
    """A first try that goes on beside its repetition could put an old record behind a newer one."""
    broker = Broker()
    broker.troubles = {"a": [ConnectionError("gone")]}
    broker.gate = {"b": asyncio.Event()}
    task = asyncio.create_task(publish(broker, rows_by_partition(rows("a", "b"))))
    for _ in range(9):
        await asyncio.sleep(0)
    assert not broker.troubles["a"]
    assert not task.done() and broker.under_way == 1
    broker.gate["b"].set()
    with pytest.raises(ConnectionError):
        await task
    assert broker.under_way == 0


async def test_a_cancelled_publication_ends_at_once_with_all_its_calls() -> None:
    broker = Broker()
    broker.gate = {"a": asyncio.Event(), "b": asyncio.Event()}
    lanes = rows_by_partition(rows("a", "b"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await publish(broker, lanes)
    assert broker.under_way == 0
    assert all(lanes.values())


async def test_a_batch_that_the_producer_cancels_is_an_error_and_not_our_end() -> None:
    broker = Broker()
    broker.troubles = {"a": [asyncio.CancelledError()]}
    with pytest.raises(RetryLater):
        await publish(broker, rows_by_partition(rows("a")))


async def test_nothing_to_publish_is_published_at_once() -> None:
    await publish(Broker(), rows_by_partition([]))
