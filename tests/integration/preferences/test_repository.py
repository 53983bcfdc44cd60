"""The durable record against real replica sets."""

import asyncio
import random
import time
from datetime import timedelta
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.choices import EMPTY_RECORD, ChoiceChange, merge
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.preferences.row_codec import version_of
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards
from notify_streams.stores.shard_clocks import FollowedClocks
from tests.builders import ShardsWithClock
from tests.integration.preferences.conftest import OpenEnv
from tests.integration.preferences.preference_fixtures import BUCKET, now, put

pytestmark = pytest.mark.stack


def changes(count: Any, users: Any = 1, seed: Any = 0) -> Any:
    pick = random.Random(seed)
    start = now() - timedelta(hours=1)
    return [
        (
            pick.choice(range(8)) if users > 1 else BUCKET,
            ChoiceChange(
                1, pick.choice(["push", "sms"]), pick.random() < 0.5, start + timedelta(milliseconds=pick.randrange(50))
            ),
        )
        for _ in range(count)
    ]


def choices_of(record: Any) -> Any:
    return {(n, ch): (c.opted_in, c.at) for n, channels in record.choices.items() for ch, c in channels.items()}


async def test_many_writers_in_any_order_come_to_what_one_would(env_of: OpenEnv) -> None:
    env = await env_of()
    people = {f"u-{number}": [change for _, change in changes(24, seed=number)] for number in range(30)}
    batches = [
        [(BUCKET, user, change) for user, own in people.items() for change in own[place::6]] for place in range(6)
    ]
    await asyncio.gather(*(env.repository.apply(batch) for batch in batches))
    for user, own in people.items():
        found = await env.repository.read(BUCKET, user)
        assert choices_of(found) == choices_of(merge(EMPTY_RECORD, own, now()))
        assert found.version == max(c.version for channels in found.choices.values() for c in channels.values())


async def test_two_roles_that_apply_the_same_batch_count_each_change_once(env_of: OpenEnv) -> None:
    env = await env_of()
    wishes = [(user % 8, f"u-{user}", change) for user in range(200) for _, change in changes(3, seed=user)]
    first, second = await asyncio.gather(env.repository.apply(wishes), env.repository.apply(wishes))
    third = await env.repository.apply(wishes)
    assert first == second == third
    for user_id, record in third.items():
        assert record == merge(EMPTY_RECORD, [change for _, who, change in wishes if who == user_id], now())


async def test_the_record_holds_its_compiled_row(env_of: OpenEnv) -> None:
    env = await env_of()
    record = (await env.repository.apply([(BUCKET, "u", ChoiceChange(2, "email", True, now()))]))["u"]
    assert await env.repository.rows(BUCKET, ["u", "unknown"]) == {"u": record.row()}


async def test_a_bucket_does_not_show_another_bucket_s_people(env_of: OpenEnv) -> None:
    env = await env_of()
    await put(env, "u")
    assert await env.repository.rows(BUCKET + 2, ["u"]) == {}
    assert await env.repository.read(BUCKET + 2, "u") is EMPTY_RECORD


async def test_what_changed_is_found_by_the_shard_s_clock_not_the_sender_s(env_of: OpenEnv) -> None:
    env = await env_of()
    shard = BUCKET % 2
    old = now() - timedelta(days=30)
    before, _ = await env.repository.changed_since(shard, None, 300)
    await env.repository.apply(
        [(BUCKET, "u", ChoiceChange(2, "email", True, old)), (BUCKET, "v", ChoiceChange(2, "push", True, old))]
    )
    _, rows = await env.repository.changed_since(shard, before, 300)
    assert rows.keys() == {"u", "v"}
    await env.repository.apply([(BUCKET, "u", ChoiceChange(2, "email", False, old + timedelta(seconds=1)))])
    after, rows = await env.repository.changed_since(shard, before, 300)
    assert version_of(rows["u"]) == 2
    await asyncio.sleep(2.1)
    _, rows = await env.repository.changed_since(shard, before, 1)
    assert rows == {}, "what is older than the horizon is left out"
    assert after > before


async def test_a_shard_that_does_not_answer_is_an_error_in_time() -> None:
    settings = Settings(region="us", kafka="none", redis="none", shards=("mongodb://127.0.0.1:9/?replicaSet=none",))
    async with Shards(settings) as shards:
        durable = PreferenceRepository(shards, timeout_s=0.5)
        began = time.monotonic()
        for asking in (
            durable.rows(BUCKET, ["u"]),
            durable.read(BUCKET, "u"),
            durable.apply([(BUCKET, "u", ChoiceChange(1, "push", False, now()))]),
        ):
            with pytest.raises(StoreUnavailable):
                await asking
        assert time.monotonic() - began < 3


async def test_what_is_credible_is_so_by_the_later_one_of_two_clocks(env_of: OpenEnv) -> None:
    """A worker whose clock is behind would take each newer choice for one of a wrong clock, and let older ones win."""
    env = await env_of()
    right: Any = ShardsWithClock(lambda: now() + timedelta(hours=1))
    env.shards.clocks = clocks = FollowedClocks(right, 5.0)
    for shard in range(len(env.shards)):
        await clocks.read(shard)
    opted_out = ChoiceChange(2, "push", False, now() + timedelta(minutes=50))
    earlier = ChoiceChange(2, "push", True, now() + timedelta(minutes=40))
    for change in (opted_out, earlier):
        record = (await env.repository.apply([(BUCKET, "u", change)]))["u"]
    assert not record.choices[2]["push"].opted_in
