"""A shard that is too slow for a large transaction gets smaller ones; a slow shard must not become one that never finishes."""

import asyncio
from typing import Any

from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.settings import OutboxSettings
from tests.builders import a_decided_batch, an_entry
from tests.waiting import until


class SlowStore:
    """Takes transactions of up to `most` notifications; larger ones run out of time and change nothing."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.written: list[int] = []
        self.refused = 0

    async def write(self, flush: Any, published: Any) -> None:
        if len(flush.notifications) > self.most:
            self.refused += 1
            raise StoreUnavailable("out of time")
        self.written.append(len(flush.notifications))

    async def is_committed(self, flush: Any) -> bool:
        return False

    async def delete_rows(self, published: Any) -> None:
        return


async def no_relay(bucket: int) -> None:
    return


class Broker:
    async def send_batch(self, topic: Any, partition: Any, records: Any) -> None:
        return


async def test_a_flush_that_never_comes_through_in_time_is_divided_in_order() -> None:
    store, acknowledged = SlowStore(most=2), []
    commit = FlushLoop("standard", 0, store, None, Broker(), OutboxSettings(), None, no_relay)
    for start in range(0, 8, 2):
        batch = a_decided_batch(an_entry(f"t{start}"), an_entry(f"t{start + 1}"), start=start)
        batch.ack_handle.ack = lambda start=start: acknowledged.append(start)
        await commit.submit(batch)
    loop = asyncio.create_task(commit.run())
    await until(lambda: len(acknowledged) == 4, within_s=20)
    loop.cancel()
    assert acknowledged == [0, 2, 4, 6]
    assert store.written == [2, 2, 2, 2]


async def test_a_single_batch_is_tried_until_the_shard_answers() -> None:
    store, acknowledged = SlowStore(most=0), []
    commit = FlushLoop("standard", 0, store, None, Broker(), OutboxSettings(), None, no_relay)
    batch = a_decided_batch(an_entry("t"))
    batch.ack_handle.ack = lambda: acknowledged.append(True)
    await commit.submit(batch)
    loop = asyncio.create_task(commit.run())
    await until(lambda: store.refused >= 4, within_s=20)
    assert not acknowledged
    store.most = 1
    await until(lambda: acknowledged, within_s=20)
    loop.cancel()
    assert store.written == [1]
