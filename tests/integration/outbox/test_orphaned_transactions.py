"""A worker that dies inside a transaction leaves its locks behind; whoever takes over does not wait for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from notify_streams.stores.orphaned_transactions import INACTIVE_S, abort_orphaned_transactions
from tests.builders import AckRecorder
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, SOURCE, Bench, batch, flush_of
from tests.waiting import until

BUCKET = {"bucket": {"$in": [EVEN]}}


@asynccontextmanager
async def inside_a_transaction(bench: Any, flush: Any, published: Any = ()) -> AsyncIterator[Any]:
    """A worker that has written `flush` and not committed it."""
    async with bench.shards.client(0).start_session() as session:
        await session.start_transaction()
        await bench.store()._body(session, flush, published)
        yield session


async def left_alone(bench: Any) -> bool:
    inactive = {"transaction.timeInactiveMicros": {"$gte": int(INACTIVE_S * 1_000_000)}}
    listing = [{"$currentOp": {"idleSessions": True}}, {"$match": inactive}]
    return bool(await (await bench.shards.client(0).admin.aggregate(listing)).to_list())


async def test_who_takes_over_from_the_dead_goes_on_at_once(bench: Bench, bench_of: OpenBench) -> None:
    await bench.open()
    first = flush_of(batch("a"))
    await bench.store().write(first, [])
    dead, acks = await bench_of(database=bench.settings.database), AckRecorder()
    deleted = BUCKET | {"_id": {"$in": [row.document["_id"] for row in first.rows]}}
    async with inside_a_transaction(dead, flush_of(batch("lost", start=1)), [deleted]) as session:
        await until(lambda: left_alone(bench))
        outbox = bench.outbox(transaction_timeout_s=2.0)
        assert await outbox.on_assigned([SOURCE]) == {SOURCE: 1}
        await outbox.start()
        await outbox.submit(batch("b", start=1, acks=acks))
        await until(lambda: acks.acknowledged, within_s=2.0)
        await outbox.stop()
        with pytest.raises(OperationFailure, match="has been aborted"):
            await session.commit_transaction()
    assert bench.broker.ids() == ["a", "b"] == await bench.trigger_ids()
    assert await bench.rows() == [] and await bench.closes()


async def test_a_transaction_that_is_at_work_is_left_alone(bench: Bench) -> None:
    await bench.open()
    async with inside_a_transaction(bench, flush_of(batch("a"))) as session:
        assert await abort_orphaned_transactions(bench.shards) == 0
        await session.commit_transaction()
    assert await bench.trigger_ids() == ["a"]


async def test_what_another_application_left_open_is_its_own_affair(bench: Bench, bench_of: OpenBench) -> None:
    await bench.open()
    other = await bench_of(database=bench.settings.database, of_shards={"app_name": "somebody-else"})
    async with inside_a_transaction(other, flush_of(batch("a"))) as session:
        await until(lambda: left_alone(bench))
        assert await abort_orphaned_transactions(bench.shards) == 0
        await session.commit_transaction()


async def test_a_shard_that_is_away_holds_nobody_up(bench: Bench, bench_of: OpenBench) -> None:
    away = "mongodb://127.0.0.1:1/?directConnection=true&serverSelectionTimeoutMS=100"
    cut_off = await bench_of(shards=(away, away))
    assert await abort_orphaned_transactions(cut_off.shards) == 0
