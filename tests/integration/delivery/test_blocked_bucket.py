"""The writes of one bucket are refused, as `shards move` does for a while: the other buckets of its shard go on."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notify_streams.admin.shards.write_block import allow_writes, block_writes
from notify_streams.delivery.delivery_ledger import DeliveryLedger, Token
from notify_streams.delivery.partition import Advance, Partition
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.delivery.settlement import Settlement, SettlementStore, TokenRefused
from notify_streams.stores.mongo import LEDGER, TIMERS
from tests.builders import ABatch
from tests.integration.delivery.delivery_fixtures import (
    BUCKET,
    DeliveryEnvironment,
    FakeBatchEvent,
    Provider,
    RunningEngine,
    first_positions,
)
from tests.waiting import until

#: It opens no breaker.
NO_FAILURE = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", one_server=True)


def beside(env: DeliveryEnvironment) -> int:
    """Another bucket of the same shard."""
    return next(one for one in range(64) if one != BUCKET and env.shards.of(one) == env.shards.of(BUCKET))


async def own_both(env: DeliveryEnvironment, engine: RunningEngine) -> None:
    await engine.engine.on_assigned(1)
    await engine.engine.acquire([BUCKET, beside(env)], first_positions)


async def for_other(env: DeliveryEnvironment, offset: int, *ids: str) -> ABatch:
    """A batch of the other bucket."""
    batch = await env.notify(*ids)
    env.forget(batch)
    records = [replace(record, offset=offset + place) for place, record in enumerate(batch.records)]
    return ABatch(records, topic="push", partition=beside(env), start=offset, end=offset + len(ids))


async def test_it_holds_up_no_other_and_is_settled_once_afterwards(env: DeliveryEnvironment) -> None:
    """Its deliveries also give their places to others: they are more than may be admitted."""
    database = env.shards.database(env.shards.of(BUCKET))
    first, many = await env.notify("first"), await env.notify(*(f"many-{number}" for number in range(300)))
    others = [await for_other(env, number, f"other-{number}") for number in range(30)]
    provider = Provider(max_in_flight=4)
    async with env.engine(provider, owns=False) as engine:
        await own_both(env, engine)
        await engine.deliver(first)
        await block_writes(database, BUCKET)
        stopped: Any = FakeBatchEvent(many)
        delivering = asyncio.create_task(engine.engine.deliver(stopped))
        for batch in others:
            await asyncio.sleep(0.1)
            event: Any = FakeBatchEvent(batch)
            await asyncio.wait_for(engine.engine.deliver(event), 5)
            await asyncio.wait_for(event.done.wait(), 5)
        assert not stopped.acknowledged
        begun = provider.called_at[-1]
        assert all(
            at < begun - 1.0 for at, one in zip(provider.called_at, provider.ids(), strict=True) if "many" in one
        )
        await allow_writes(database, BUCKET)
        await asyncio.wait_for(stopped.done.wait(), 20)
        await delivering
    assert set(Counter(provider.ids()).values()) == {1} and len(provider.calls) == 331
    assert not any(call.possible_duplicate for call in provider.calls)
    assert await env.counts() == {"taken": 301, "fresh": 301, "sent": 301} and await env.books_close()


async def test_its_due_timers_hold_up_no_other(env: DeliveryEnvironment) -> None:
    """They are due before the other bucket's, and more than one look reads."""
    shard = env.shards.of(BUCKET)
    ids = [f"t-{number}" for number in range(201)]
    provider = Provider()
    provider.results = {one: [NO_FAILURE] for one in (*ids, "other")}
    async with env.engine(provider, owns=False, pace=100.0) as engine:
        await own_both(env, engine)
        other = await for_other(env, 0, "other")
        await engine.deliver(await env.notify(*ids))
        await engine.deliver(other)
        await block_writes(env.shards.database(shard), BUCKET)
        for seconds, bucket in enumerate((beside(env), BUCKET)):
            due = {"due_at": datetime.now(UTC) - timedelta(seconds=seconds)}
            timers = env.shards.database(shard)[TIMERS]
            await timers.update_many({"bucket": bucket}, {"$set": due}, bypass_document_validation=True)
        engine.engine.owned_anew()
        await until(lambda: provider.ids().count("other") == 2, within_s=5.0)
        await until(lambda: counts_timers(env, beside(env), 0))
        assert len(provider.calls) == len(ids) + 2
        allowed = time.monotonic()
        await allow_writes(env.shards.database(shard), BUCKET)
        await until(lambda: counts_timers(env, BUCKET, 0))
        assert time.monotonic() - allowed < 10.0, "they are looked for as soon as it can be written"
    assert not any(call.possible_duplicate for call in provider.calls)
    assert await env.books_close()


async def counts_timers(env: DeliveryEnvironment, bucket: int, count: int) -> bool:
    return bool(await env.shards.collection(TIMERS, bucket).count_documents({"bucket": bucket}) == count)


async def test_a_flush_that_was_part_of_a_committed_one_is_not_refused(env: DeliveryEnvironment) -> None:
    """It was divided while its commit was under way. It is not written again, and its partition has no other owner."""
    ledger = DeliveryLedger(env.shards, "push", 5.0)
    shard = env.shards.of(BUCKET)
    store = SettlementStore(env.shards, shard, ledger, 5.0)
    token = Token(1)
    partition = Partition((await ledger.create({BUCKET: 0}, token))[BUCKET], token, shard, 0.0)
    step = Settlement(partition, step=Advance(0, 5, {"taken": 5}), claimed_to=64)
    await store.write("whole", [step])
    step.whole_id = "whole"
    with pytest.raises(TokenRefused) as refused:
        await store.write("alone", [step])
    assert refused.value.partitions == frozenset(), "`is_committed` tells the rest"
    await ledger.acquire([BUCKET], Token(2))
    with pytest.raises(TokenRefused) as refused:
        await store.write("alone", [step])
    assert refused.value.partitions == {partition}
    found = await env.shards.collection(LEDGER, BUCKET).find_one({"partition": BUCKET})
    assert found is not None and (found["taken"], found["last_flush"]) == (5, "whole")
