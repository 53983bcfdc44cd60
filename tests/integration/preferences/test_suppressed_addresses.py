"""Suppressed addresses before the provider call, against the real stores."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from notify_streams.preferences.suppressed_addresses import AddressIds
from notify_streams.records.address_ids import is_address_id
from notify_streams.records.outcomes import Reason
from notify_streams.secret import Secret
from notify_streams.settings_public import PublicSettings
from tests.integration.preferences.conftest import HurtableRedis, OpenEnv
from tests.integration.preferences.preference_fixtures import (
    BUCKET,
    ProcessPreferences,
    a_message,
    counted,
    lapse,
    now,
    reasons,
)

pytestmark = pytest.mark.stack

PUBLIC = PublicSettings(address_key=Secret("k" * 32))
PHONE, MAIL = "+15550100200", "ann@example.org"
#: Their records are on both shards.
NUMBERS = [f"+1555010{number}" for number in range(3000, 3020)]
Kept = Callable[[ProcessPreferences], Awaitable[None]]


def sms(**but: Any) -> Any:
    return a_message(**({"channel": "sms", "category": "security", "to": PHONE} | but))


def mail(**but: Any) -> Any:
    return a_message(**({"channel": "email", "category": "security", "to": MAIL} | but))


async def test_a_suppressed_address_gets_nothing_of_any_category_and_others_do(env_of: OpenEnv, kept: Kept) -> None:
    published: list[Any] = []

    async def publish(updates: Any, rows: Any) -> None:
        published.extend(updates)

    env, webhooks = await env_of(public=PUBLIC), await env_of(public=PUBLIC, publish=publish)
    await kept(env)
    assert await reasons(env, sms(), sms(to="+15550100201")) == [None, None]
    await webhooks.stops.suppress_address("sms", PHONE, "stopped", "SM1")
    await webhooks.stops.suppress_address("email", MAIL, "complaint")
    assert await reasons(env, sms(), sms(to="+15550100201"), sms(user_id="u-2", category="payments")) == [
        Reason.STOPPED,
        None,
        Reason.STOPPED,
    ]
    # `security` by mail cannot be turned off; the address can.
    assert await reasons(env, mail(), mail(to="Ann@Example.org"), mail(to="bob@example.org")) == [
        Reason.COMPLAINT,
        Reason.COMPLAINT,
        None,
    ]
    await webhooks.stops.allow_address("sms", PHONE)
    await webhooks.stops.suppress_address("email", MAIL, "bounced")
    assert await reasons(env, sms()) == [None]
    assert await reasons(env, mail()) == [Reason.COMPLAINT]
    assert [(update.category, update.opted_in) for _, update in published] == [
        ("stopped", False),
        ("complaint", False),
        ("stopped", True),
        ("bounced", False),
    ]
    assert all(is_address_id(update.user_id) and PHONE not in str(update) for _, update in published)


async def test_an_address_that_was_suppressed_long_ago_gets_no_young_message(
    env_of: OpenEnv, kept: Kept, redis: HurtableRedis
) -> None:
    """The delta is gone, and no decision has looked at the address."""
    env = await env_of(public=PUBLIC)
    await kept(env)
    await env.stops.suppress_address("sms", PHONE, "stopped")
    with redis.commands() as commands:
        for key in commands.scan_iter("*:address:*"):
            commands.delete(key)
    for _ in range(2):  # read, cached
        assert await reasons(env, sms(), sms(to="+15550100201")) == [Reason.STOPPED, None]


async def test_a_cached_row_is_replaced_by_what_follows(env_of: OpenEnv, kept: Kept) -> None:
    env = await env_of(public=PUBLIC)
    await kept(env)
    for number in range(6):
        assert await reasons(env, sms()) == [Reason.STOPPED if number % 2 else None]
        await (
            env.stops.allow_address("sms", PHONE) if number % 2 else env.stops.suppress_address("sms", PHONE, "stopped")
        )


async def test_without_redis_the_durable_record_decides(env_of: OpenEnv, redis: HurtableRedis) -> None:
    env = await env_of(public=PUBLIC)
    await env.stops.suppress_address("sms", PHONE, "stopped")
    before = counted("notify_durable_checks_total")
    await lapse(env)
    old = sms(decided_at=now() - timedelta(hours=1))
    assert await reasons(env, sms(), old, sms(to="+15550100201")) == [Reason.STOPPED, Reason.STOPPED, None]
    assert counted("notify_durable_checks_total") > before


async def test_without_a_key_addresses_are_not_looked_up(env_of: OpenEnv, kept: Kept) -> None:
    env, other = await env_of(public=PUBLIC), await env_of()
    await kept(other)
    await env.stops.suppress_address("sms", PHONE, "stopped")
    assert await reasons(other, sms()) == [None]


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_address_on_a_silent_shard_holds_up_no_other_message(
    env_of: OpenEnv, kept: Kept, redis: HurtableRedis, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """It is named as not checked until its shard answers. What a delta says of it stands."""
    env = await env_of(public=PUBLIC)
    if trusted:
        await kept(env)
    ids = AddressIds(b"k" * 32, len(env.shards.all_buckets()))
    numbers = {env.shards.of(ids.bucket_of(ids.of("sms", number))): number for number in NUMBERS}
    for number in numbers.values():
        await env.stops.suppress_address("sms", number, "stopped")
    allowed = next(
        one for one in NUMBERS if env.shards.of(ids.bucket_of(ids.of("sms", one))) == 0 and one != numbers[0]
    )
    messages = [sms(to=numbers[1]), sms(to=numbers[0]), sms(to=numbers[1], category="unknown"), sms(to=allowed)]
    others = [Reason.STOPPED, Reason.CHANNEL_NOT_ALLOWED, None]

    async def found() -> tuple[list[Any], frozenset[int]]:
        permission = await env.provider_check.still_allowed(BUCKET, messages, now())
        return permission.reasons, permission.unchecked

    with monkeypatch.context() as silence:
        silence.setattr(env.shards, "is_silent", lambda bucket: env.shards.of(bucket) == 1)
        if trusted:
            assert await found() == ([Reason.STOPPED, *others], frozenset())
            with redis.commands() as commands:
                for key in commands.scan_iter("*:address:*"):
                    commands.delete(key)
        assert await found() == ([None, *others], frozenset([0]))
    assert await found() == ([Reason.STOPPED, *others], frozenset())
