"""Rows for a partition that takes nothing hold up no other partition; they keep their order."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from notify_streams import tasks
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.flush_plan import Flush
from notify_streams.outbox.ledger import Ledger
from notify_streams.outbox.transaction import FlushStore
from notify_streams.routing.outcome_records import bad_record, id_conflict
from notify_streams.settings import OutboxSettings
from tests.builders import AckRecorder, a_decided_batch, an_outcome
from tests.unit.outbox.test_divided_flush import SHARDS, no_relay
from tests.waiting import until


class Store(FlushStore):
    """Commits everything."""

    def __init__(self) -> None:
        super().__init__(SHARDS, 0, timeout_s=1.0)
        self.committed: list[str] = []
        self.deleted: list[str] = []

    async def write(self, flush: Flush, published: Sequence[Mapping[str, Any]]) -> None:
        self.committed.append(flush.id)
        await self.delete_rows(published)

    async def delete_rows(self, published: Sequence[Mapping[str, Any]]) -> None:
        self.deleted += [one for condition in published for one in condition["_id"]["$in"]]


class Broker:
    """Partition `stuck` takes nothing until `led` is set."""

    def __init__(self, stuck: int) -> None:
        self.stuck = stuck
        self.led = asyncio.Event()
        self.sent: dict[int, list[int]] = {}
        self.under_way = 0

    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        if partition == self.stuck:
            self.under_way += 1
            assert self.under_way == 1, "two sends for one partition could overtake each other"
            try:
                await self.led.wait()
            finally:
                self.under_way -= 1
        self.sent.setdefault(partition, []).append(len(records))


@asynccontextmanager
async def running(store: FlushStore, broker: Broker, **limits: Any) -> AsyncIterator[FlushLoop]:
    ledger = Ledger(SHARDS, "standard", 1.0)
    loop = FlushLoop("standard", 0, store, ledger, broker, OutboxSettings(**limits), id_conflict, bad_record, no_relay)
    task = asyncio.create_task(loop.run())
    yield loop
    await tasks.stop([task])


async def submit(loop: FlushLoop, bucket: int, start: int, acks: AckRecorder, records: int = 1) -> None:
    entries = [an_outcome(f"{bucket}-{start + at}", bucket=bucket) for at in range(records)]
    await loop.submit(a_decided_batch(*entries, start=start, partition=bucket, acks=acks))


def acknowledged(acks: AckRecorder, count: int) -> bool:
    return acks.acknowledged == count


async def until_late(loop: FlushLoop, broker: Broker) -> None:
    """Return when another flush has gone on without the rows that wait."""
    await until(lambda: broker.under_way)
    acks = AckRecorder()
    await submit(loop, 4, 0, acks)
    await until(lambda: acks.acknowledged)


async def test_the_flushes_of_other_partitions_go_on_and_nothing_is_acknowledged_before_it_is_published() -> None:
    store, broker, acks, stuck = Store(), Broker(stuck=2), AckRecorder(), AckRecorder()
    async with running(store, broker) as loop:
        await submit(loop, 2, 0, stuck)
        await until(lambda: broker.under_way)
        for number in range(3):
            await submit(loop, 4, number, acks)
            await until(partial(acknowledged, acks, number + 1))
        assert not stuck.acknowledged
        left = store.committed[0]
        assert left in loop.flush_ids()
        broker.led.set()
        await until(lambda: stuck.acknowledged)
        await until(lambda: any(one.split(":")[2] == left for one in store.deleted), "its row is deleted")


async def test_others_of_the_same_flush_are_acknowledged_and_read_on() -> None:
    store, broker, acks, stuck = Store(), Broker(stuck=2), AckRecorder(), AckRecorder()
    async with running(store, broker) as loop:
        await asyncio.gather(submit(loop, 2, 0, stuck), submit(loop, 4, 0, acks))
        await until(lambda: acks.acknowledged == 1)
        await submit(loop, 4, 1, acks)
        await until(lambda: acks.acknowledged == 2)
    assert not stuck.acknowledged


async def test_the_rows_of_a_partition_keep_their_order() -> None:
    store, broker, acks = Store(), Broker(stuck=2), AckRecorder()
    async with running(store, broker, flush_records=1) as loop:
        for number, records in enumerate((1, 2, 3)):
            await submit(loop, 2, 10 * number, acks, records)
        await until(lambda: len(store.committed) == 3)
        broker.led.set()
        await until(lambda: acks.acknowledged == 3)
    assert broker.sent[2] == [1, 2, 3]


async def test_a_source_partition_whose_rows_wait_is_not_read_on() -> None:
    store, broker, acks = Store(), Broker(stuck=2), AckRecorder()
    async with running(store, broker) as loop:
        await submit(loop, 2, 0, acks)
        await until_late(loop, broker)
        more = asyncio.create_task(submit(loop, 2, 1, acks))
        await asyncio.wait([more], timeout=0.1)
        assert not more.done()
        broker.led.set()
        await more
        await until(lambda: acks.acknowledged == 2)
    assert broker.sent[2] == [1, 1]


async def test_rows_of_a_partition_that_is_assigned_anew_are_left_to_the_relay() -> None:
    store, broker, acks = Store(), Broker(stuck=2), AckRecorder()
    async with running(store, broker) as loop:
        await submit(loop, 2, 0, acks)
        await until_late(loop, broker)
        await loop.discard(None)
        assert store.committed[0] not in loop.flush_ids() and not broker.under_way
        await submit(loop, 4, 1, acks)
        await until(lambda: acks.acknowledged == 1)
