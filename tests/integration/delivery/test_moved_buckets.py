"""A bucket moves to another shard while its deliveries wait for an attempt or for an answer."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from notify_streams.admin.shards.move import WaitTimes, move_bucket
from notify_streams.delivery.delivery_ledger import DeliveryLedger
from notify_streams.stores.mongo import TIMERS, Shards
from tests.builders import ABatch
from tests.integration.delivery.delivery_fixtures import (
    BUCKET,
    RETRY,
    DeliveryEnvironment,
    FakeBatchEvent,
    Provider,
)
from tests.waiting import until


async def move(env: DeliveryEnvironment, on_step: Callable[[str], None] = lambda step: None) -> None:
    """Move `BUCKET` to the other shard; the engine's clients know it afterwards."""
    to = 1 - env.shards.of(BUCKET)
    async with Shards(env.settings) as shards:
        await move_bucket(env.settings, shards, BUCKET, to, on_step, WaitTimes(0.5, 0.5))
    await env.shards.refresh_directory()


async def test_a_timer_is_found_on_the_shard_to_which_its_bucket_has_moved(env: DeliveryEnvironment) -> None:
    """The worker has no message of that bucket, and so no flush that would be refused."""
    async with env.engine(Provider(t=[RETRY]), pace=100.0) as engine:
        await engine.deliver(await env.notify("t"))
        await move(env)
        await env.shards.collection(TIMERS, BUCKET).update_many({}, {"$set": {"due_at": datetime.now(UTC)}})
        await until(partial(env.is_in, "sent"))
    assert await env.books_close() and not await env.timers()


async def test_a_message_that_comes_while_its_idle_bucket_moves_is_read_again(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    owning, go_on, acquire = asyncio.Event(), asyncio.Event(), DeliveryLedger.acquire

    async def wait(self: DeliveryLedger, *arguments: Any) -> Any:
        owning.set()
        await go_on.wait()
        return await acquire(self, *arguments)

    provider = Provider()
    async with env.engine(provider, pace=100.0) as engine:
        await engine.deliver(await env.notify("before"))
        monkeypatch.setattr(DeliveryLedger, "acquire", wait)
        await move(env)
        await asyncio.wait_for(owning.wait(), 20)
        batch = await env.notify("meanwhile")
        left_out = await engine.begin(batch)
        go_on.set()
        await until(lambda: left_out.refused == [batch.start])
        await engine.deliver(batch)
    assert provider.ids() == ["before", "meanwhile"] and await env.books_close()


async def test_an_answer_during_a_move_stops_no_other_bucket(env: DeliveryEnvironment) -> None:
    """Writes to the bucket are blocked when the answer is settled; afterwards it is on the other shard."""
    source = env.shards.of(BUCKET)
    other = next(one for one in range(64) if one != BUCKET and env.shards.of(one) == source)
    answer = asyncio.Event()

    async def wait(message: Any) -> None:
        await answer.wait()

    provider = Provider()
    provider.before = wait
    async with env.engine(provider, owns=False, call_timeout_s=60.0) as engine:
        await engine.engine.on_assigned(1)
        await engine.engine.acquire([BUCKET, other], _first)
        event = await engine.begin(await env.notify("t"))
        await asyncio.wait_for(event.done.wait(), 20)
        assert await env.is_in("retrying"), "the call has no answer yet"
        await move(env, lambda step: answer.set() if step == "comparing the copies" else None)
        assert answer.is_set()
        empty = FakeBatchEvent(ABatch([], topic="push", partition=other, start=0, end=1))
        await engine.engine.deliver(empty)
        await asyncio.wait_for(empty.done.wait(), 20)
        await until(partial(env.is_in, "sent"))


async def _first(partitions: Any) -> dict[int, int]:
    return dict.fromkeys(partitions, 0)
