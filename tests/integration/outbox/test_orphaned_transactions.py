"""The next owner does not wait for transactions of a dead worker."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from notify_streams.outbox.flush_plan import Flush
from notify_streams.stores.orphaned_transactions import INACTIVE_S, abort_orphaned_transactions
from tests.builders import AckRecorder
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, SOURCE, Bench, batch, flush_of
from tests.waiting import until

BUCKET = {"bucket": {"$in": [EVEN]}}


@asynccontextmanager
async def open_transaction(
    bench: Bench, flush: Flush, published: Sequence[Mapping[str, Any]] = ()
) -> AsyncIterator[AsyncClientSession]:
    """A transaction that has written `flush` and is not committed."""
    async with bench.shards.client(0).start_session() as session:
        await session.start_transaction()
        await bench.store().write_in_transaction(session, flush, published)
        yield session


async def is_orphaned(bench: Bench) -> bool:
    inactive = {"transaction.timeInactiveMicros": {"$gte": int(INACTIVE_S * 1_000_000)}}
    pipeline: list[dict[str, Any]] = [{"$currentOp": {"idleSessions": True}}, {"$match": inactive}]
    return bool(await (await bench.shards.client(0).admin.aggregate(pipeline)).to_list())


async def test_the_next_owner_does_not_wait_for_a_dead_workers_transaction(bench: Bench, bench_of: OpenBench) -> None:
    await bench.open()
    first = flush_of(batch("a"))
    await bench.store().write(first, [])
    dead, acks = await bench_of(database=bench.settings.database), AckRecorder()
    deleted = BUCKET | {"_id": {"$in": [row.document["_id"] for row in first.rows]}}
    async with open_transaction(dead, flush_of(batch("lost", start=1)), [deleted]) as session:
        await until(lambda: is_orphaned(bench))
        outbox = bench.outbox(transaction_timeout_s=2.0)
        assert await outbox.acquire([SOURCE]) == {SOURCE: 1}
        await outbox.start()
        await outbox.submit(batch("b", start=1, acks=acks))
        await until(lambda: acks.acknowledged, within_s=2.0)
        await outbox.stop()
        with pytest.raises(OperationFailure, match="has been aborted"):
            await session.commit_transaction()
    assert bench.broker.ids() == ["a", "b"] == await bench.trigger_ids()
    assert await bench.rows() == [] and await bench.ledgers_add_up()


async def test_an_active_transaction_is_not_aborted(bench: Bench) -> None:
    await bench.open()
    async with open_transaction(bench, flush_of(batch("a"))) as session:
        assert await abort_orphaned_transactions(bench.shards, range(len(bench.shards))) == 0
        await session.commit_transaction()
    assert await bench.trigger_ids() == ["a"]


async def test_a_transaction_of_another_application_is_not_aborted(bench: Bench, bench_of: OpenBench) -> None:
    await bench.open()
    other = await bench_of(database=bench.settings.database, shards_options={"app_name": "another-application"})
    async with open_transaction(other, flush_of(batch("a"))) as session:
        await until(lambda: is_orphaned(bench))
        assert await abort_orphaned_transactions(bench.shards, range(len(bench.shards))) == 0
        await session.commit_transaction()


async def test_an_unavailable_shard_is_skipped(bench: Bench, bench_of: OpenBench) -> None:
    away = "mongodb://127.0.0.1:1/?directConnection=true&serverSelectionTimeoutMS=100"
    cut_off = await bench_of(shards=(away, away))
    assert await abort_orphaned_transactions(cut_off.shards, range(len(cut_off.shards))) == 0
