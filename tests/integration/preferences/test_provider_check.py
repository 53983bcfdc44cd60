"""The check before the provider call, against the real stores."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from notify_streams.errors import RetryLater
from notify_streams.preferences.provider_check import ProviderCheck
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.outcomes import Reason
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards
from tests.integration.preferences.conftest import HurtableRedis, OpenEnv
from tests.integration.preferences.preference_fixtures import (
    BUCKET,
    CATEGORIES,
    ProcessPreferences,
    a_message,
    counted,
    now,
    put,
    reasons,
)

pytestmark = pytest.mark.stack


async def test_a_young_message_of_who_changed_nothing_stands_as_decided(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    before = counted("notify_durable_checks_total")
    await kept(env)
    # Email needs an opt-in; that there was one is the decision's knowledge, and nothing changed since.
    assert await reasons(env, a_message(), a_message(channel="email")) == [None, None]
    assert counted("notify_durable_checks_total") - before == 0


async def test_an_opt_out_since_the_decision_stops_the_message(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    before = counted("notify_durable_checks_total")
    await kept(env)
    message = a_message()
    await put(env)
    assert await reasons(env, message, a_message(category="payments"), a_message(user_id="u-2")) == [
        Reason.OPTED_OUT,
        None,
        None,
    ]
    assert counted("notify_durable_checks_total") - before == 0


async def test_an_opt_in_after_the_opt_out_lets_it_pass(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    await kept(env)
    message = a_message()
    await put(env)
    await put(env, opted_in=True)
    assert await reasons(env, message) == [None]


async def test_an_old_message_is_looked_up_although_redis_is_trusted(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]], redis: HurtableRedis
) -> None:
    env = await env_of()
    before = counted("notify_durable_checks_total")
    await kept(env)
    await put(env)
    old = a_message(decided_at=now() - timedelta(seconds=env.bound.young_s + 1))
    with redis.commands() as commands:
        for key in commands.scan_iter("*:u-1"):
            commands.delete(key)  # its time is over
    assert await reasons(env, old, a_message(user_id="u-2")) == [Reason.OPTED_OUT, None]
    assert counted("notify_durable_checks_total") - before == 1


async def test_an_old_message_that_was_never_opted_in_is_stopped(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    await kept(env)
    old = a_message(channel="email", decided_at=now() - timedelta(hours=1))
    assert await reasons(env, old) == [Reason.NOT_OPTED_IN]


async def test_without_redis_the_durable_record_decides(env_of: OpenEnv) -> None:
    env = await env_of()
    before = counted("notify_durable_checks_total")
    await put(env)
    assert await reasons(env, a_message(), a_message(user_id="u-2")) == [Reason.OPTED_OUT, None]
    assert counted("notify_durable_checks_total") - before == 2


async def test_a_delta_older_than_the_decision_does_not_overrule_it(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]], redis: HurtableRedis
) -> None:
    env, cut_off = await env_of(), await env_of("redis://127.0.0.1:9/0")
    await kept(env)
    version = await put(env)
    assert await reasons(env, a_message(preference_version=version + 1)) == [None]
    assert await reasons(env, a_message(preference_version=version)) == [Reason.OPTED_OUT]
    del cut_off


async def test_policy_and_expiry_hold_whatever_was_chosen(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    env = await env_of()
    await kept(env)
    await put(env, category="security")
    past = now() - timedelta(seconds=1)
    assert await reasons(
        env,
        a_message(category="gone"),
        a_message(channel="sms"),
        a_message(expires_at=past),
        a_message(expires_at=now() + timedelta(minutes=1)),
        a_message(category="security"),
        a_message(category="security", test=True),
    ) == [Reason.CHANNEL_NOT_ALLOWED, Reason.CHANNEL_NOT_ALLOWED, Reason.EXPIRED, None, None, Reason.TEST]


async def test_what_cannot_be_turned_off_needs_no_store() -> None:
    check = await _without_stores()
    allowance = await check.still_allowed(BUCKET, [a_message(category="security")], now())
    assert allowance.reasons == [None]


async def test_without_any_store_nothing_may_be_sent() -> None:
    check = await _without_stores()
    with pytest.raises(RetryLater):
        await check.still_allowed(BUCKET, [a_message(), a_message(category="security")], now())


async def test_an_allowance_ends_and_counts_from_before_the_question(env_of: OpenEnv) -> None:
    env = await env_of()
    before = time.monotonic()
    allowance = await env.provider_check.still_allowed(BUCKET, [a_message()], now())
    assert before <= allowance.checked_at <= time.monotonic()
    assert allowance.good_until == allowance.checked_at + env.bound.good_s
    assert allowance.holds()
    while time.monotonic() < allowance.good_until:
        pass
    assert not allowance.holds()


class _NoRedis:
    async def read(self, user_ids: Any) -> None:
        return None


async def _without_stores() -> Any:
    from notify_streams.preferences.staleness_bound import staleness_bound_of

    settings = Settings(region="us", kafka="none", redis="none", shards=("mongodb://127.0.0.1:9/?replicaSet=none",))
    shards = Shards(settings)
    await shards.start()
    deltas: Any = _NoRedis()
    return ProviderCheck(
        deltas, PreferenceRepository(shards, 0.3), staleness_bound_of(settings.preferences), CATEGORIES
    )
