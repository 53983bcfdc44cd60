"""One URI of a mongos instead of a list of shards: `shards init` shards by bucket, once, and the way out works as it does without."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bson import MinKey

from notify_streams.admin.shards import check_shards, init_shards, move_bucket
from notify_streams.admin.shards.init import COLLECTIONS
from notify_streams.errors import Refused
from tests.builders import AckRecorder
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.fake_mongos import FakeMongos
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, batch
from tests.waiting import until


@pytest.fixture
async def mongos(mongo_shards: list[str]) -> AsyncIterator[Any]:
    async with FakeMongos(mongo_shards[0]) as started:
        yield started


@pytest.fixture
async def behind(mongos: Any, bench_of: OpenBench) -> Any:
    """A worker whose only shard is the mongos."""
    return await bench_of(shards=(mongos.uri,))


async def test_collections_are_sharded_by_bucket_with_a_chunk_for_each(behind: Any, mongos: Any) -> None:
    done = await init_shards(behind.settings, behind.shards)
    assert "sharded by bucket, 8 chunks a collection" in done[0]
    database, partitions = behind.settings.database, behind.settings.partitions
    assert mongos.databases == {database}
    assert set(mongos.sharded) == {f"{database}.{name}" for name in COLLECTIONS}
    for key, starts in mongos.sharded.values():
        assert key == {"bucket": 1, "_id": 1} and list(key) == ["bucket", "_id"]
        assert starts == [{"bucket": bucket, "_id": MinKey()} for bucket in range(1, partitions)]


async def test_init_may_be_run_again_and_does_what_is_missing(behind: Any, mongos: Any) -> None:
    await init_shards(behind.settings, behind.shards)
    splits = mongos.splits
    await init_shards(behind.settings, behind.shards)
    assert mongos.splits == splits
    next(iter(mongos.sharded.values()))[1].pop(3)
    await init_shards(behind.settings, behind.shards)
    assert mongos.splits == splits + 1


async def test_check_says_what_is_missing_behind_a_mongos(behind: Any, mongos: Any) -> None:
    async def wrong() -> Any:
        return {one.what: one.found for one in await check_shards(behind.settings, behind.shards) if not one.holds}

    assert (await wrong())["ledger: shard key"] == "None"
    await init_shards(behind.settings, behind.shards)
    assert await wrong() == {}
    mongos.sharded[f"{behind.settings.database}.ledger"][1].pop(3)
    assert await wrong() == {"ledger: chunks": "no chunk begins at bucket 4"}


async def test_a_bucket_is_moved_by_the_mongos_and_not_by_us(behind: Any) -> None:
    with pytest.raises(Refused, match="moveChunk"):
        await move_bucket(behind.settings, behind.shards, EVEN, 0, lambda _: None)


async def test_a_flush_and_its_repeats_go_through_a_mongos(
    behind: Any, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await init_shards(behind.settings, behind.shards)
    sources = [("triggers.payments", bucket) for bucket in (EVEN, ODD)]
    await behind.open(*sources)
    commit, acks = behind.commit(), AckRecorder()
    running(commit.run())
    for bucket in (EVEN, ODD):
        await commit.submit(batch(f"a{bucket}", f"b{bucket}", f"a{bucket}", bucket=bucket, acks=acks))
    await until(lambda: acks.acknowledged == 2)
    assert await behind.trigger_ids() == [f"{name}{bucket}" for name in "ab" for bucket in (EVEN, ODD)]
    assert await behind.closes()
    await until(lambda: not commit.flush_ids())
    assert await behind.rows() == []
