"""One record that a shard never accepts becomes a dead letter; the others of its flush are stored."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams import tasks
from notify_streams.errors import PermanentFailure, StoreUnavailable, UnknownFailure
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.flush_plan import Flush, OutboxRow, Packed
from notify_streams.outbox.ledger import Ledger
from notify_streams.outbox.publisher import publish, rows_by_partition
from notify_streams.outbox.transaction import FlushStore
from notify_streams.retry import RetryPolicy
from notify_streams.routing.outcome_records import bad_record, id_conflict
from notify_streams.settings import OutboxSettings
from notify_streams.stores.mongo import Shards
from notify_streams.transport.send_errors import RecordTooLarge
from tests.builders import AckRecorder, a_decided_batch, an_outcome, some_settings
from tests.waiting import until

SHARDS = Shards(some_settings())
FAST = RetryPolicy("test", first_s=0.0, max_s=0.0, max_unknown_s=0.0)


class PickyStore(FlushStore):
    """Refuses every flush that has one of the triggers `bad`."""

    def __init__(self, bad: set[str], error: Exception) -> None:
        super().__init__(SHARDS, 0, timeout_s=1.0)
        self.bad = bad
        self.error = error
        self.stored: list[str] = []
        self.counts: dict[str, int] = {}
        self.outage: list[Exception] = []

    async def write(self, flush: Flush, published: Sequence[Mapping[str, Any]]) -> None:
        await self.check(flush)
        if self.outage:
            raise self.outage.pop()
        self.stored += ids(flush)
        for step in flush.steps:
            for name, count in step.counts.items():
                self.counts[name] = self.counts.get(name, 0) + count

    async def check(self, flush: Flush) -> None:
        if self.bad.intersection(ids(flush)):
            raise self.error

    async def is_committed(self, flush: Flush) -> bool:
        return False

    async def delete_rows(self, published: Sequence[Mapping[str, Any]]) -> None:
        return


class Producer:
    """Its topics take values of at most `limit` bytes, but for `dead_letters`."""

    def __init__(self, limit: int = 10**6) -> None:
        self.limit = limit
        self.sent: list[tuple[str, bytes]] = []

    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        for index, (_, value, _) in enumerate(records):
            if len(value) > self.limit and topic != "dead_letters":
                raise RecordTooLarge(topic, partition, index, len(value), self.limit)
        self.sent += [(topic, value) for _, value, _ in records]


def ids(flush: Flush) -> list[str]:
    return [document["trigger_id"] for document in flush.notifications]


async def flushed(store: PickyStore, batches: Sequence[Sequence[str]]) -> Producer:
    async def no_relay(bucket: int) -> None:
        return

    producer = Producer()
    loop = FlushLoop(
        "standard", 0, store, Ledger(SHARDS, "standard", 1.0), producer, OutboxSettings(), id_conflict, bad_record,
        no_relay, FAST,
    )  # fmt: skip
    acks = [AckRecorder() for _ in batches]
    start = 0
    for trigger_ids, ack in zip(batches, acks, strict=True):
        await loop.submit(a_decided_batch(*map(an_outcome, trigger_ids), start=start, acks=ack))
        start += len(trigger_ids)
    task = asyncio.create_task(loop.run())
    await until(lambda: all(ack.acknowledged for ack in acks))
    await tasks.stop([task])
    return producer


@given(st.lists(st.lists(st.booleans(), max_size=6), min_size=1, max_size=4))
@settings(deadline=None)
def test_the_bad_records_die_and_all_others_are_stored(marks: list[list[bool]]) -> None:
    batches = [[f"{number}-{place}" for place in range(len(part))] for number, part in enumerate(marks)]
    bad = {f"{number}-{place}" for number, part in enumerate(marks) for place, is_bad in enumerate(part) if is_bad}
    store = PickyStore(bad, PermanentFailure("refused"))
    producer = asyncio.run(flushed(store, batches))
    everything = {one for part in batches for one in part}
    assert sorted(store.stored) == sorted(everything - bad)
    assert store.counts.get("dead_reasons.bad_record", 0) == store.counts["dead"] == len(bad)
    assert store.counts["taken"] == len(everything)
    assert len([topic for topic, _ in producer.sent if topic == "dead_letters"]) == len(bad)


@pytest.mark.parametrize("error", [UnknownFailure("new in this version"), ValueError("a fault of our own")])
async def test_an_unknown_error_that_lasts_is_a_bad_record(error: Exception) -> None:
    store = PickyStore({"b"}, error)
    await flushed(store, [["a", "b", "c"]])
    assert store.stored == ["a", "c"] and store.counts["dead_reasons.bad_record"] == 1


async def test_an_outage_makes_no_bad_record() -> None:
    store = PickyStore(set(), StoreUnavailable("away"))
    store.outage = [*[StoreUnavailable("away")] * 20, *[UnknownFailure("?")] * 2]
    await flushed(store, [["a"]])
    assert store.stored == ["a"] and store.counts["dead"] == 0


async def test_a_record_that_no_topic_takes_does_not_keep_others_from_being_published() -> None:
    producer = Producer(limit=100)
    records: list[Packed] = [(b"k", value, []) for value in (b"1", b"x" * 101, b"3")]
    await publish(producer, rows_by_partition([OutboxRow(3, "push", 3, records, {})]))
    assert producer.sent == [("dead_letters", b"x" * 101), ("push", b"1"), ("push", b"3")]
