"""Behind a mongos, init shards by bucket and the outbox works unchanged."""

from collections.abc import AsyncIterator

import pytest
from bson import MinKey

from devtools.fakes.mongos import FakeMongos
from notify_streams.admin.shards import check_shards, init_shards, move_bucket
from notify_streams.admin.shards.init import COLLECTIONS
from notify_streams.errors import Refused
from tests.builders import AckRecorder
from tests.integration.outbox.conftest import OpenBench, Run
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, Bench, batch
from tests.waiting import until


@pytest.fixture
async def mongos(mongo_shards: list[str]) -> AsyncIterator[FakeMongos]:
    async with FakeMongos(mongo_shards[0]) as started:
        yield started


@pytest.fixture
async def behind(mongos: FakeMongos, bench_of: OpenBench) -> Bench:
    """A worker whose only shard is the mongos."""
    return await bench_of(shards=(mongos.uri,))


async def test_collections_are_sharded_by_bucket_with_a_chunk_for_each(behind: Bench, mongos: FakeMongos) -> None:
    done = await init_shards(behind.settings, behind.shards)
    assert "sharded by bucket, 8 chunks a collection" in done[0]
    database, partitions = behind.settings.database, behind.settings.partitions
    assert mongos.databases == {database}
    assert set(mongos.sharded) == {f"{database}.{name}" for name in COLLECTIONS}
    for key, starts in mongos.sharded.values():
        assert key == {"bucket": 1, "_id": 1} and list(key) == ["bucket", "_id"]
        assert starts == [{"bucket": bucket, "_id": MinKey()} for bucket in range(1, partitions)]


async def test_init_may_be_repeated_and_adds_what_is_missing(behind: Bench, mongos: FakeMongos) -> None:
    await init_shards(behind.settings, behind.shards)
    splits = mongos.splits
    await init_shards(behind.settings, behind.shards)
    assert mongos.splits == splits
    next(iter(mongos.sharded.values()))[1].pop(3)
    await init_shards(behind.settings, behind.shards)
    assert mongos.splits == splits + 1


async def test_check_reports_what_is_missing_behind_a_mongos(behind: Bench, mongos: FakeMongos) -> None:
    async def differences() -> dict[str, str]:
        findings = await check_shards(behind.settings, behind.shards)
        return {finding.what: finding.found for finding in findings if not finding.holds}

    assert (await differences())["ledger: shard key"] == "None"
    await init_shards(behind.settings, behind.shards)
    assert await differences() == {}
    mongos.sharded[f"{behind.settings.database}.ledger"][1].pop(3)
    assert await differences() == {"ledger: chunks": "no chunk begins at bucket 4"}


async def test_behind_a_mongos_moves_are_refused(behind: Bench) -> None:
    with pytest.raises(Refused, match="moveChunk"):
        await move_bucket(behind.settings, behind.shards, EVEN, 0, lambda _: None)


async def test_flushes_and_duplicates_work_behind_a_mongos(behind: Bench, running: Run) -> None:
    await init_shards(behind.settings, behind.shards)
    sources = [("triggers.payments", bucket) for bucket in (EVEN, ODD)]
    await behind.open(*sources)
    loop, acks = behind.flush_loop(), AckRecorder()
    running(loop.run())
    for bucket in (EVEN, ODD):
        await loop.submit(batch(f"a{bucket}", f"b{bucket}", f"a{bucket}", bucket=bucket, acks=acks))
    await until(lambda: acks.acknowledged == 2)
    assert await behind.trigger_ids() == [f"{name}{bucket}" for name in "ab" for bucket in (EVEN, ODD)]
    assert await behind.ledgers_add_up()
    await until(lambda: not loop.flush_ids())
    assert await behind.rows() == []
