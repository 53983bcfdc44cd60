"""A flush that a slow shard cannot commit in time is divided into smaller ones."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from notify_streams import tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.flush_plan import Flush
from notify_streams.outbox.ledger import Ledger
from notify_streams.outbox.transaction import FlushStore
from notify_streams.routing.outcome_records import bad_record, id_conflict
from notify_streams.settings import OutboxSettings
from notify_streams.stores.mongo import Shards
from tests.builders import AckRecorder, a_decided_batch, an_outcome, some_settings
from tests.waiting import until

Published = Sequence[Mapping[str, Any]]
SHARDS = Shards(some_settings())


class SlowStore(FlushStore):
    """Commits flushes of at most `limit` notifications; larger ones time out."""

    def __init__(self, limit: int) -> None:
        super().__init__(SHARDS, 0, timeout_s=1.0)
        self.limit = limit
        self.committed: list[int] = []
        self.timeouts = 0

    async def write(self, flush: Flush, published: Published) -> None:
        if len(flush.notifications) > self.limit:
            self.timeouts += 1
            raise StoreUnavailable("timed out")
        self.committed.append(len(flush.notifications))

    async def is_committed(self, flush: Flush) -> bool:
        return False

    async def delete_rows(self, published: Published) -> None:
        return


class NullProducer:
    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        return


async def no_relay(bucket: int) -> None:
    return


@asynccontextmanager
async def running(store: FlushStore) -> AsyncIterator[FlushLoop]:
    ledger = Ledger(SHARDS, "standard", 1.0)
    loop = FlushLoop("standard", 0, store, ledger, NullProducer(), OutboxSettings(), id_conflict, bad_record, no_relay)
    task = asyncio.create_task(loop.run())
    yield loop
    await tasks.stop([task])


async def test_a_flush_that_times_out_is_divided_in_order() -> None:
    store = SlowStore(limit=2)
    acknowledged: list[int] = []
    async with running(store) as loop:
        for start in range(0, 8, 2):
            acks = AckRecorder(on_ack=partial(acknowledged.append, start))
            entries = an_outcome(f"t{start}"), an_outcome(f"t{start + 1}")
            await loop.submit(a_decided_batch(*entries, start=start, acks=acks))
        await until(lambda: len(acknowledged) == 4, within_s=20)
    assert acknowledged == [0, 2, 4, 6]
    assert store.committed == [2, 2, 2, 2]


async def test_a_single_batch_is_retried_until_the_shard_answers() -> None:
    store, acks = SlowStore(limit=0), AckRecorder()
    async with running(store) as loop:
        await loop.submit(a_decided_batch(an_outcome("t"), acks=acks))
        await until(lambda: store.timeouts >= 4, within_s=20)
        assert not acks.acknowledged
        store.limit = 1
        await until(lambda: acks.acknowledged, within_s=20)
    assert store.committed == [1]
