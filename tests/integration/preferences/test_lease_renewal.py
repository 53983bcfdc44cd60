"""Redis is trusted exactly while its deltas are complete, whatever is done to it."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.lease_renewal import LeaseRenewal
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.preferences.row_codec import EMPTY_ROW, encode_row, version_of
from notify_streams.records.outcomes import Reason
from notify_streams.settings import PreferenceSettings
from notify_streams.tasks import stop
from tests.integration.preferences.conftest import HurtableRedis, OpenEnv
from tests.integration.preferences.preference_fixtures import (
    BUCKET,
    ProcessPreferences,
    a_message,
    lapse,
    now,
    put,
    reasons,
    rebuilds,
    until_trusted,
)
from tests.waiting import until

pytestmark = pytest.mark.stack


def row(version: Any) -> Any:
    return encode_row(version, {2: {"push": False}})


async def versions_in(env: ProcessPreferences, user_ids: Sequence[str]) -> list[int]:
    """Versions of the users' deltas; Redis must be trusted."""
    deltas = await env.deltas.read(user_ids)
    assert deltas is not None
    return [version_of(delta or EMPTY_ROW) for delta in deltas]


async def test_a_slow_writer_never_replaces_a_newer_delta(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    await kept(env)
    versions = random.Random(1).sample([1, 2, 100, 127, 128, 129, 300, 16_383, 16_384, 20_000], 10)
    for version in versions:
        await env.deltas.write({"u": row(version)})
    assert await versions_in(env, ["u"]) == [20_000]


async def test_without_a_keeper_nothing_is_trusted(env_of: OpenEnv) -> None:
    env = await env_of()
    await put(env)
    assert await env.deltas.read(["u-1"]) is None


async def test_a_lease_ends_by_itself(env_of: OpenEnv) -> None:
    env = await env_of()
    await env.lease_renewal.renew()
    await env.lease_renewal.renew()
    assert await env.deltas.read([]) is not None
    await lapse(env)
    assert await env.deltas.read([]) is None


async def test_the_keeper_brings_what_a_writer_could_not(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env, cut_off = await env_of(), await env_of("redis://127.0.0.1:9/0")
    await kept(env)
    version = await put(cut_off)
    # The moment that put returns: either the delta is there, or Redis is not trusted.
    deltas = await env.deltas.read(["u-1"])
    assert deltas is None or version_of(deltas[0] or EMPTY_ROW) == version
    await until_trusted(env)
    assert await versions_in(env, ["u-1"]) == [version]


async def test_with_the_keeper_gone_too_a_put_outlasts_the_last_lease(env_of: OpenEnv) -> None:
    env, cut_off = await env_of(), await env_of("redis://127.0.0.1:9/0")
    await env.lease_renewal.renew()
    await env.lease_renewal.renew()
    assert await env.deltas.read(["u-1"]) == [None], "trusted, and there is nothing yet"
    await put(cut_off)
    assert await env.deltas.read(["u-1"]) is None


async def test_after_a_flush_nothing_is_trusted_until_all_is_back(
    env_of: OpenEnv,
    redis: HurtableRedis,
    kept: Callable[[ProcessPreferences], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    env = await env_of()
    users = [f"u-{number}" for number in range(50)]
    await kept(env)
    versions = await asyncio.gather(*(put(env, user) for user in users))
    with redis.commands() as commands:
        for _ in range(5):
            commands.flushall()
            await until_trusted(env)
            assert await versions_in(env, users) == versions
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


def renewal_with(env: ProcessPreferences, meanwhile: Any) -> LeaseRenewal:
    repository = FlushedMeanwhile(env.repository, meanwhile)
    return LeaseRenewal(env.redis, env.deltas, repository, env.bound, env.prefix)


async def test_a_flush_in_the_middle_of_a_renewal_prevents_it(env_of: OpenEnv, redis: HurtableRedis) -> None:
    env = await env_of()
    await put(env)

    async def flush() -> None:
        with redis.commands() as commands:
            commands.flushall()

    assert await renewal_with(env, flush).renew() is False
    assert await env.deltas.read(["u-1"]) is None


async def test_a_keeper_that_was_paused_gives_no_lease_for_a_past_it_saw(env_of: OpenEnv) -> None:
    env = await env_of()
    cut_off = await env_of("redis://127.0.0.1:9/0")

    async def stall() -> None:
        await put(cut_off)

    assert await renewal_with(env, stall).renew() is False
    assert await env.deltas.read(["u-1"]) is None


async def test_a_restarted_server_is_repaired_before_it_is_trusted(
    env_of: OpenEnv, redis: HurtableRedis, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    await kept(env)
    version = await put(env)
    redis.kill()
    assert await env.deltas.read(["u-1"]) is None
    redis.heal()
    await until_trusted(env)
    assert await versions_in(env, ["u-1"]) == [version]


async def test_a_promoted_replica_that_lost_writes_is_repaired_before_it_is_trusted(
    env_of: OpenEnv,
    redis: HurtableRedis,
    second_redis: HurtableRedis,
    kept: Callable[[ProcessPreferences], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    env = await env_of()
    await kept(env)
    host, _, port = redis.address.removeprefix("redis://").removesuffix("/0").partition(":")
    with second_redis.commands() as replica, redis.commands() as primary:
        replica.replicaof(host, int(port))
        primary.config_set("repl-diskless-sync-delay", 0)
        await until(lambda: replica.info("replication").get("master_link_status") == "up")
        assert int(primary.wait(1, 2_000)) == 1
        replica.replicaof("NO", "ONE")
        version = await put(env)  # after the link broke: the replica never got it
        promoted = await env_of(second_redis.address)
        assert replica.get(f"{promoted.deltas.lease_key.removesuffix('!lease')}:u-1") is None
    await lapse(env)
    caplog.clear()
    await kept(promoted)
    assert await versions_in(promoted, ["u-1"]) == [version]
    assert rebuilds(caplog) == 1


async def test_deltas_that_ended_early_because_the_clock_was_set_ahead_are_copied_before_anything_is_trusted(
    env_of: OpenEnv, redis: HurtableRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    env = await env_of()
    await env.lease_renewal.renew()
    versions = [await put(env, "u-1"), await put(env, "u-2")]
    await lapse(env)
    await env.lease_renewal.renew()
    assert rebuilds(caplog) == 1
    with redis.commands() as commands:
        # What a step of 100 s does: one delta has ended, the other one has less time left, and so has the lease.
        commands.delete(f"{env.prefix}:u-1", env.deltas.lease_key)
        commands.pexpire(f"{env.prefix}:u-2", 60_000)
        commands.hincrby(f"{env.prefix}!epoch", "ahead", -100_000)
        assert await env.lease_renewal.renew()
        assert await versions_in(env, ["u-1", "u-2"]) == versions
        assert commands.pttl(f"{env.prefix}:u-2") > 200_000
        await lapse(env)
        await env.lease_renewal.renew()
    assert rebuilds(caplog) == 2, "once a step"


async def test_deltas_that_live_shorter_than_the_settings_say_are_not_trusted(
    env_of: OpenEnv, redis: HurtableRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """While `delta_ttl_s` is raised, worker by worker: a message of 350 s is young by the new value, and the delta has ended by the old one."""
    caplog.set_level(logging.INFO)
    before, after = [await env_of(preferences=PreferenceSettings(delta_ttl_s=ttl_s)) for ttl_s in (300.0, 600.0)]
    message = a_message(decided_at=now() - timedelta(seconds=350))
    await before.lease_renewal.renew()
    version = await put(before)
    with redis.commands() as commands:
        commands.delete(f"{before.prefix}:u-1")  # as after 300 s
        assert await before.deltas.read([]) is not None
        assert await reasons(after, message) == [Reason.OPTED_OUT]
        await lapse(after)
        await after.lease_renewal.renew()
        assert await versions_in(after, ["u-1"]) == [version]
        assert await reasons(after, message) == [Reason.OPTED_OUT]
        await before.deltas.write({"u-1": row(version)})
        assert commands.pttl(f"{before.prefix}:u-1") > 500_000
    assert await before.deltas.read([]) is not None, "longer ones serve workers with the old value, too"
    assert rebuilds(caplog) == 2


async def test_a_lease_that_a_clock_set_back_would_keep_alive_is_renewed(env_of: OpenEnv, redis: HurtableRedis) -> None:
    env, cut_off = await env_of(), await env_of("redis://127.0.0.1:9/0")
    await env.lease_renewal.renew()
    with redis.commands() as commands:
        for key in ("lease", "busy", "standby"):
            commands.set(f"{env.prefix}!{key}", "a worker that has died", px=3_600_000)
        version = await put(cut_off)
        assert await env.lease_renewal.renew()
        assert 0 < commands.pttl(env.deltas.lease_key) <= env.bound.lease_s * 1000
    assert await versions_in(env, ["u-1"]) == [version]


async def test_a_hanging_server_costs_one_timeout_and_not_one_a_batch(
    env_of: OpenEnv, redis: HurtableRedis, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    await kept(env)
    redis.pause()
    began = time.monotonic()
    for _ in range(80):
        assert await env.deltas.read(["u-1"]) is None
    assert time.monotonic() - began < 2.4
    redis.resume()
    await until_trusted(env)


async def test_a_full_server_takes_no_deltas_and_loses_its_lease(
    env_of: OpenEnv, redis: HurtableRedis, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    await kept(env)
    with redis.commands() as commands:
        commands.config_set("maxmemory", "1mb")
        with pytest.raises(StoreUnavailable):
            await env.deltas.write({f"u-{number}": row(1) for number in range(20_000)})
        await put(env)
        assert await env.deltas.read(["u-1"]) is None
        assert await reasons(env, a_message()) == [Reason.OPTED_OUT]
        commands.config_set("maxmemory", 0)
    await until_trusted(env)
    assert await reasons(env, a_message()) == [Reason.OPTED_OUT]


async def test_a_server_that_may_evict_deltas_gets_no_lease(env_of: OpenEnv, redis: HurtableRedis) -> None:
    env = await env_of()
    await env.lease_renewal.renew()
    with redis.commands() as commands:
        commands.config_set("maxmemory", "256mb")
        commands.config_set("maxmemory-policy", "volatile-ttl")
    await lapse(env)
    with pytest.raises(StoreUnavailable, match="noeviction"):
        await env.lease_renewal.renew()
    assert await env.deltas.read([]) is None


async def test_several_keepers_share_the_work(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    environments = [await env_of() for _ in range(3)]
    for env in environments:
        await kept(env)
    before = [env.renewal.renewals for env in environments]
    await asyncio.sleep(2)
    renewed = sum(env.renewal.renewals for env in environments) - sum(before)
    assert 5 <= renewed <= 20, "about one every 0.2 s, however many there are"
    assert rebuilds(caplog) == 1
    assert await environments[0].deltas.read([f"{BUCKET}"]) == [None]


async def test_the_lease_of_a_worker_that_ends_is_renewed_by_another_before_it_is_over(env_of: OpenEnv) -> None:
    # A lease of 1.5 s: one of 0.4 s may end while a busy machine gives this process no time.
    environments = [await env_of(preferences=PreferenceSettings(bound_s=3.0)) for _ in range(4)]
    keepers = [asyncio.create_task(env.renewal.run()) for env in environments]
    redis, standby = environments[0].redis, environments[0].renewal.keys[-1]

    def renewals() -> list[int]:
        return [env.renewal.renewals for env in environments]

    try:
        await until_trusted(environments[0])
        for _ in range(2):
            before = renewals()
            while renewals() == before or await redis.get(standby) is None:
                await asyncio.sleep(0.01)
            by = [now - then for now, then in zip(renewals(), before, strict=True)]
            last = by.index(max(by))
            await stop([keepers[last]])
            before = renewals()
            while renewals() == before:
                assert await environments[0].deltas.read([]) is not None, "Redis is trusted all the time"
    finally:
        await stop(keepers)


async def test_an_unknown_error_does_not_end_the_renewal(env_of: OpenEnv) -> None:
    env = await env_of()

    class Broken(LeaseRenewal):
        tries = 0

        async def renew(self) -> bool:
            self.tries += 1
            if self.tries == 1:
                raise ZeroDivisionError("a defect of the driver")
            return await super().renew()

    renewal = Broken(env.redis, env.deltas, env.repository, env.bound, env.prefix)
    running = asyncio.create_task(renewal.run())
    await until_trusted(env)
    await stop([running])
    assert renewal.works
