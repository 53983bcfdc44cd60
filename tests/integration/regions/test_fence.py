"""The fence on real shards: refuses flushes decided before it was raised; never decreases."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.fence import not_fenced, raise_fence
from notify_streams.outbox.ledger import Ledger
from notify_streams.records.ids import ledger_id
from notify_streams.settings import OutboxSettings, Settings
from notify_streams.stores.mongo import LEDGER, Shards


@pytest.fixture
async def shards(mongo_shards: list[str]) -> AsyncIterator[Shards]:
    name = f"fence-{uuid.uuid4().hex[:8]}"
    settings = Settings(region="us", kafka="none", shards=tuple(mongo_shards), redis="none", database=name)
    made = Shards(settings)
    await made.start()
    for bucket in range(4):
        document = {"_id": f"critical:t:{bucket}", "bucket": bucket, "role": "critical", "next_offset": 10}
        await made.collection(LEDGER, bucket).insert_one(document)
        await made.collection(LEDGER, bucket).insert_one(
            {"_id": f"push:t:{bucket}", "bucket": bucket, "role": "push", "next_offset": 10}
        )
    yield made
    for shard in range(len(made)):
        await made.client(shard).drop_database(name)
    await made.close()


async def flush(shards: Shards, role: str, bucket: int, epoch: int, topic: str = "t") -> bool:
    condition: dict[str, Any] = {"_id": ledger_id(role, topic, bucket), "bucket": bucket} | not_fenced(epoch)
    done = await shards.collection(LEDGER, bucket).update_one(condition, {"$inc": {"next_offset": 1}})
    return done.modified_count == 1


async def test_a_flush_that_was_decided_before_the_fence_does_not_commit(shards: Shards) -> None:
    assert await flush(shards, "critical", 1, epoch=3)
    await raise_fence(shards, 4)
    for bucket in range(4):
        assert not await flush(shards, "critical", bucket, epoch=3)
        assert await flush(shards, "critical", bucket, epoch=4)
        assert await flush(shards, "push", bucket, epoch=3), "deliveries are not fenced"


async def test_the_fence_never_decreases(shards: Shards) -> None:
    await raise_fence(shards, 7)
    await raise_fence(shards, 5)
    assert not await flush(shards, "critical", 0, epoch=6)


async def test_a_ledger_that_is_begun_after_the_fence_was_raised_is_behind_it(shards: Shards) -> None:
    await raise_fence(shards, 6)
    for role in ("critical", "push"):
        await Ledger(shards, role, 5.0).open({("new", bucket): 10 for bucket in range(4)})
    for bucket in range(4):
        assert not await flush(shards, "critical", bucket, epoch=5, topic="new"), "decided before the fence"
        assert await flush(shards, "critical", bucket, epoch=6, topic="new")
        assert await flush(shards, "push", bucket, epoch=5, topic="new")


async def test_ledgers_begun_while_the_fence_is_raised_are_behind_it(shards: Shards) -> None:
    ledger = Ledger(shards, "standard", 10.0)
    for epoch in range(1, 8):
        sources = {(f"t{epoch}-{number}", number % 4): 10 for number in range(6)}
        await asyncio.gather(*(ledger.open({source: 10}) for source in sources), raise_fence(shards, epoch, 10.0))
        for topic, bucket in sources:
            assert not await flush(shards, "standard", bucket, epoch=epoch - 1, topic=topic)


async def test_two_workers_that_begin_one_ledger_at_once_begin_it_once(shards: Shards) -> None:
    ledgers = [Ledger(shards, "standard", 10.0) for _ in range(8)]
    opened = await asyncio.gather(*(one.open({("once", 2): 10 + at}) for at, one in enumerate(ledgers)))
    assert len({tuple(one.values()) for one in opened}) == 1


async def test_a_shard_that_does_not_answer_is_no_fence() -> None:
    uri = "mongodb://127.0.0.1:9/?replicaSet=none"
    settings = Settings(
        region="us", kafka="none", shards=(uri,), redis="none", outbox=OutboxSettings(transaction_timeout_s=1.0)
    )
    async with Shards(settings) as shards:
        with pytest.raises(StoreUnavailable):
            await raise_fence(shards, 1, timeout_s=0.5)
