"""The gauges of timers that are due: how many have not begun, and how late the oldest is."""

from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams import metrics
from notify_streams.delivery.due_timers import DueTimers
from notify_streams.delivery.pauses import ProviderPauses
from notify_streams.delivery.timers import TimerReader, new_timer
from notify_streams.stores.mongo import TIMERS, Shards
from notify_streams.stores.shard_clocks import ShardClocks
from tests.integration.delivery.delivery_fixtures import BUCKET, DeliveryEnvironment, Provider
from tests.waiting import until

#: Key → bucket, role, seconds since it was due.
WAITING = {
    b"late": (BUCKET, "push", 60.0),
    b"later": (BUCKET, "push", 5.0),
    b"begun": (BUCKET, "push", 600.0),
    b"not due": (BUCKET, "push", -60.0),
    b"of sms": (BUCKET, "sms", 700.0),
    b"of another worker": (BUCKET + 1, "push", 800.0),
}


async def add(env: DeliveryEnvironment, key: bytes, bucket: int, role: str, late_s: float) -> None:
    due_ms = int((datetime.now(UTC).timestamp() - late_s) * 1000)
    timer = new_timer(key, bucket, role, due_ms, 1, False, b"")
    await env.shards.collection(TIMERS, bucket).insert_one(timer)


def gauges() -> tuple[Any, Any]:
    found = [
        metrics.REGISTRY.get_sample_value(name) for name in ("notify_timers_due", "notify_timer_oldest_due_seconds")
    ]
    return found[0], found[1]


def due_timers(shards: Shards, begun: set[bytes]) -> DueTimers:
    return DueTimers(TimerReader(shards, "push", 1.0), ShardClocks(shards, 1.0), begun)


async def test_what_is_due_and_has_not_begun_is_counted(env: DeliveryEnvironment) -> None:
    owned = {env.shards.of(BUCKET): {BUCKET}}
    begun = {b"begun"}
    looking = due_timers(env.shards, begun)
    await looking.look(owned)
    assert gauges() == (0, 0)
    for key, timer in WAITING.items():
        await add(env, key, *timer)
    await looking.look(owned)
    count, oldest_s = gauges()
    assert count == 2 and oldest_s == pytest.approx(60.0, abs=5.0)
    begun |= {b"late", b"later"}
    await looking.look(owned)
    assert gauges() == (0, 0)
    begun.clear()
    await looking.look(owned)
    assert gauges()[0] == 3
    await looking.look({})
    assert gauges() == (0, 0)


async def test_a_worker_whose_provider_is_paused_says_what_is_due(env: DeliveryEnvironment) -> None:
    pauses = ProviderPauses(env.shards, 5.0)
    await pauses.pause("fake")
    async with env.engine(Provider(), owns=False) as engine:
        await until(lambda: engine.engine.provider_state().state == "paused")
        await engine.own(BUCKET)
        await add(env, b"late", BUCKET, "push", 60.0)
        await until(lambda: gauges()[0] == 1, within_s=10.0)
        assert gauges()[1] == pytest.approx(60.0, abs=15.0)
    await pauses.resume("fake")
