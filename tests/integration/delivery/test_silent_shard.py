"""Deliveries of a shard that does not answer hold up none of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from notify_streams.delivery.settlement import Settlement, SettlementStore
from notify_streams.preferences.provider_check import SendPermission
from notify_streams.records.channel_message import ChannelMessage
from tests.builders import ABatch
from tests.integration.delivery.delivery_fixtures import (
    BUCKET,
    Check,
    DeliveryEnvironment,
    FakeBatchEvent,
    Provider,
    first_positions,
)
from tests.waiting import until


class BlockedCheck(Check):
    """Waits for `answers` when it reads what is on the silent shard."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.answers = asyncio.Event(), asyncio.Event()

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
        if bucket == BUCKET:
            self.began.set()
            await self.answers.wait()
        return await super().still_allowed(bucket, messages, now)


async def test_a_shard_that_takes_no_writes_holds_up_no_other(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers when it is read."""
    other = next(one for one in range(64) if env.shards.of(one) != env.shards.of(BUCKET))
    write, stalled, goes_on = SettlementStore.write, asyncio.Event(), asyncio.Event()

    async def stall(
        self: SettlementStore, flush_id: str, settlements: Sequence[Settlement], *rest: Any, **how: Any
    ) -> None:
        if any(one.partition.number == BUCKET for one in settlements):
            stalled.set()
            await goes_on.wait()
        await write(self, flush_id, settlements, *rest, **how)

    monkeypatch.setattr(SettlementStore, "write", stall)
    provider = Provider()
    waiting = await env.notify(*(f"waits-{number}" for number in range(1_000)))
    here = await env.notify("here")
    env.forget(here)
    batch = ABatch(here.records, topic="push", partition=other, start=here.start, end=here.end)
    async with env.engine(provider, owns=False) as engine:
        await engine.engine.on_assigned(1)
        await engine.engine.acquire([BUCKET], first_positions)
        await engine.engine.acquire([other], lambda partitions: first_positions(partitions, batch.start))
        blocked: Any = FakeBatchEvent(waiting)
        tasks = [asyncio.create_task(engine.engine.deliver(blocked))]
        await stalled.wait()
        event: Any = FakeBatchEvent(batch)
        tasks.append(asyncio.create_task(engine.engine.deliver(event)))
        await asyncio.wait_for(event.done.wait(), 20)
        assert provider.ids() == ["here"]
        goes_on.set()
        await asyncio.wait_for(blocked.done.wait(), 60)
        await asyncio.gather(*tasks)
    await until(env.books_close)


async def test_its_deliveries_give_their_places_to_others(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent: list[int] = []
    monkeypatch.setattr(env.shards, "silent", lambda: silent)
    other = next(one for one in range(64) if env.shards.of(one) != env.shards.of(BUCKET))
    provider, check = Provider(), BlockedCheck()
    waiting = await env.notify(*(f"waits-{number}" for number in range(1_000)))
    here = await env.notify("here")
    env.forget(here)
    batch = ABatch(here.records, topic="push", partition=other, start=here.start, end=here.end)
    async with env.engine(provider, check, owns=False) as engine:
        await engine.engine.on_assigned(1)
        await engine.engine.acquire([BUCKET], first_positions)
        await engine.engine.acquire([other], lambda partitions: first_positions(partitions, batch.start))
        blocked: Any = FakeBatchEvent(waiting)
        tasks = [asyncio.create_task(engine.engine.deliver(blocked))]
        await check.began.wait()
        event: Any = FakeBatchEvent(batch)
        tasks.append(asyncio.create_task(engine.engine.deliver(event)))
        silent.append(env.shards.of(BUCKET))
        await asyncio.wait_for(event.done.wait(), 20)
        assert provider.ids() == ["here"]
        silent.clear()
        check.answers.set()
        await asyncio.wait_for(blocked.done.wait(), 60)
        await asyncio.gather(*tasks)
    assert sorted(provider.ids()) == sorted(["here", *(f"waits-{number}" for number in range(1_000))])
    await until(env.books_close)
