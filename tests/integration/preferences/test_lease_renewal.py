"""Redis is trusted exactly while its deltas are complete, whatever is done to it."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.lease_renewal import LeaseRenewal
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.preferences.row_codec import encode_row, version_of
from notify_streams.records.outcomes import Reason
from tests.integration.preferences.conftest import HurtableRedis, OpenRoom
from tests.integration.preferences.preference_fixtures import (
    BUCKET,
    ProcessPreferences,
    a_message,
    lapse,
    put,
    reasons,
    rebuilds,
    until_trusted,
)
from tests.waiting import until

pytestmark = pytest.mark.stack


def row(version: Any) -> Any:
    return encode_row(version, {2: {"push": False}})


async def test_a_slow_writer_never_replaces_a_newer_delta(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    await kept(room)
    versions = random.Random(1).sample([1, 2, 100, 127, 128, 129, 300, 16_383, 16_384, 20_000], 10)
    for version in versions:
        await room.deltas.write({"u": row(version)})
    assert [version_of(delta) for delta in await room.deltas.read(["u"])] == [20_000]


async def test_without_a_keeper_nothing_is_trusted(room_of: OpenRoom) -> None:
    room = await room_of()
    await put(room)
    assert await room.deltas.read(["u-1"]) is None


async def test_a_lease_ends_by_itself(room_of: OpenRoom) -> None:
    room = await room_of()
    await room.lease_renewal.renew()
    await room.lease_renewal.renew()
    assert await room.deltas.read([]) is not None
    await lapse(room)
    assert await room.deltas.read([]) is None


async def test_the_keeper_brings_what_a_writer_could_not(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room, cut_off = await room_of(), await room_of("redis://127.0.0.1:9/0")
    await kept(room)
    version = await put(cut_off)
    # The moment that put returns: either the delta is there, or Redis is not trusted.
    deltas = await room.deltas.read(["u-1"])
    assert deltas is None or version_of(deltas[0]) == version
    await until_trusted(room)
    assert [version_of(delta) for delta in await room.deltas.read(["u-1"])] == [version]


async def test_with_the_keeper_gone_too_a_put_outlasts_the_last_lease(room_of: OpenRoom) -> None:
    room, cut_off = await room_of(), await room_of("redis://127.0.0.1:9/0")
    await room.lease_renewal.renew()
    await room.lease_renewal.renew()
    assert await room.deltas.read(["u-1"]) == [None], "trusted, and there is nothing yet"
    await put(cut_off)
    assert await room.deltas.read(["u-1"]) is None


async def test_after_a_flush_nothing_is_trusted_until_all_is_back(
    room_of: OpenRoom,
    redis: HurtableRedis,
    kept: Callable[[ProcessPreferences], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    room = await room_of()
    users = [f"u-{number}" for number in range(50)]
    await kept(room)
    versions = await asyncio.gather(*(put(room, user) for user in users))
    with redis.commands() as commands:
        for _ in range(5):
            commands.flushall()
            await until_trusted(room)
            assert [version_of(delta) for delta in await room.deltas.read(users)] == versions
    assert rebuilds(caplog) == 6


class FlushedMeanwhile(PreferenceRepository):
    """Lets something happen to Redis between the look at the record and the end of the renewal."""

    def __init__(self, durable: Any, meanwhile: Any) -> None:
        vars(self).update(vars(durable))
        self.meanwhile = meanwhile

    async def changed_since(self, *asked: Any) -> Any:
        found = await super().changed_since(*asked)
        await self.meanwhile()
        return found


def renewal_with(room: ProcessPreferences, meanwhile: Any) -> LeaseRenewal:
    repository = FlushedMeanwhile(room.repository, meanwhile)
    return LeaseRenewal(room.redis, room.deltas, repository, room.bound, room.prefix)


async def test_a_flush_in_the_middle_of_a_renewal_prevents_it(room_of: OpenRoom, redis: HurtableRedis) -> None:
    room = await room_of()
    await put(room)

    async def flush() -> None:
        with redis.commands() as commands:
            commands.flushall()

    assert await renewal_with(room, flush).renew() is False
    assert await room.deltas.read(["u-1"]) is None


async def test_a_keeper_that_was_paused_gives_no_lease_for_a_past_it_saw(room_of: OpenRoom) -> None:
    room = await room_of()
    cut_off = await room_of("redis://127.0.0.1:9/0")

    async def stall() -> None:
        await put(cut_off)

    assert await renewal_with(room, stall).renew() is False
    assert await room.deltas.read(["u-1"]) is None


async def test_a_restarted_server_is_repaired_before_it_is_trusted(
    room_of: OpenRoom, redis: HurtableRedis, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    await kept(room)
    version = await put(room)
    redis.kill()
    assert await room.deltas.read(["u-1"]) is None
    redis.heal()
    await until_trusted(room)
    assert [version_of(delta) for delta in await room.deltas.read(["u-1"])] == [version]


async def test_a_promoted_replica_that_lost_writes_is_repaired_before_it_is_trusted(
    room_of: OpenRoom,
    redis: HurtableRedis,
    second_redis: HurtableRedis,
    kept: Callable[[ProcessPreferences], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    room = await room_of()
    await kept(room)
    host, _, port = redis.address.removeprefix("redis://").removesuffix("/0").partition(":")
    with second_redis.commands() as replica, redis.commands() as primary:
        replica.replicaof(host, int(port))
        primary.config_set("repl-diskless-sync-delay", 0)
        await until(lambda: replica.info("replication").get("master_link_status") == "up")
        assert int(primary.wait(1, 2_000)) == 1
        replica.replicaof("NO", "ONE")
        version = await put(room)  # after the link broke: the replica never got it
        promoted = await room_of(second_redis.address)
        assert replica.get(f"{promoted.deltas.lease_key.removesuffix('!lease')}:u-1") is None
    await lapse(room)
    caplog.clear()
    await kept(promoted)
    assert [version_of(delta) for delta in await promoted.deltas.read(["u-1"])] == [version]
    assert rebuilds(caplog) == 1


async def test_a_hanging_server_costs_one_timeout_and_not_one_a_batch(
    room_of: OpenRoom, redis: HurtableRedis, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    await kept(room)
    redis.pause()
    began = time.monotonic()
    for _ in range(20):
        assert await room.deltas.read(["u-1"]) is None
    assert time.monotonic() - began < 0.6
    redis.resume()
    await until_trusted(room)


async def test_a_full_server_takes_no_deltas_and_loses_its_lease(
    room_of: OpenRoom, redis: HurtableRedis, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    await kept(room)
    with redis.commands() as commands:
        commands.config_set("maxmemory", "1mb")
        with pytest.raises(StoreUnavailable):
            await room.deltas.write({f"u-{number}": row(1) for number in range(20_000)})
        await put(room)
        assert await room.deltas.read(["u-1"]) is None
        assert await reasons(room, a_message()) == [Reason.OPTED_OUT]
        commands.config_set("maxmemory", 0)
    await until_trusted(room)
    assert await reasons(room, a_message()) == [Reason.OPTED_OUT]


async def test_a_server_that_may_evict_deltas_gets_no_lease(room_of: OpenRoom, redis: HurtableRedis) -> None:
    room = await room_of()
    await room.lease_renewal.renew()
    with redis.commands() as commands:
        commands.config_set("maxmemory", "256mb")
        commands.config_set("maxmemory-policy", "volatile-ttl")
    await lapse(room)
    with pytest.raises(StoreUnavailable, match="noeviction"):
        await room.lease_renewal.renew()
    assert await room.deltas.read([]) is None


async def test_several_keepers_share_the_work(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rooms = [await room_of() for _ in range(3)]
    for room in rooms:
        await kept(room)
    before = [room.renewal.renewals for room in rooms]
    await asyncio.sleep(2)
    renewed = sum(room.renewal.renewals for room in rooms) - sum(before)
    assert 5 <= renewed <= 20, "about one every 0.2 s, however many there are"
    assert rebuilds(caplog) == 1
    assert await rooms[0].deltas.read([f"{BUCKET}"]) == [None]
