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
from tests.integration.preferences.conftest import HurtableRedis, OpenRoom
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
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    before = counted("notify_durable_checks_total")
    await kept(room)
    # Email needs an opt-in; that there was one is the decision's knowledge, and nothing changed since.
    assert await reasons(room, a_message(), a_message(channel="email")) == [None, None]
    assert counted("notify_durable_checks_total") - before == 0


async def test_an_opt_out_since_the_decision_stops_the_message(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    before = counted("notify_durable_checks_total")
    await kept(room)
    message = a_message()
    await put(room)
    assert await reasons(room, message, a_message(category="payments"), a_message(user_id="u-2")) == [
        Reason.OPTED_OUT,
        None,
        None,
    ]
    assert counted("notify_durable_checks_total") - before == 0


async def test_an_opt_in_after_the_opt_out_lets_it_pass(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    await kept(room)
    message = a_message()
    await put(room)
    await put(room, opted_in=True)
    assert await reasons(room, message) == [None]


async def test_an_old_message_is_looked_up_although_redis_is_trusted(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]], redis: HurtableRedis
) -> None:
    room = await room_of()
    before = counted("notify_durable_checks_total")
    await kept(room)
    await put(room)
    old = a_message(decided_at=now() - timedelta(seconds=room.bound.young_s + 1))
    with redis.commands() as commands:
        for key in commands.scan_iter("*:u-1"):
            commands.delete(key)  # its time is over
    assert await reasons(room, old, a_message(user_id="u-2")) == [Reason.OPTED_OUT, None]
    assert counted("notify_durable_checks_total") - before == 1


async def test_an_old_message_that_was_never_opted_in_is_stopped(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    await kept(room)
    old = a_message(channel="email", decided_at=now() - timedelta(hours=1))
    assert await reasons(room, old) == [Reason.NOT_OPTED_IN]


async def test_without_redis_the_durable_record_decides(room_of: OpenRoom) -> None:
    room = await room_of()
    before = counted("notify_durable_checks_total")
    await put(room)
    assert await reasons(room, a_message(), a_message(user_id="u-2")) == [Reason.OPTED_OUT, None]
    assert counted("notify_durable_checks_total") - before == 2


async def test_a_delta_older_than_the_decision_does_not_overrule_it(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]], redis: HurtableRedis
) -> None:
    room, cut_off = await room_of(), await room_of("redis://127.0.0.1:9/0")
    await kept(room)
    version = await put(room)
    assert await reasons(room, a_message(preference_version=version + 1)) == [None]
    assert await reasons(room, a_message(preference_version=version)) == [Reason.OPTED_OUT]
    del cut_off


async def test_policy_and_expiry_hold_whatever_was_chosen(
    room_of: OpenRoom, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    room = await room_of()
    await kept(room)
    await put(room, category="security")
    past = now() - timedelta(seconds=1)
    assert await reasons(
        room,
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


async def test_an_allowance_ends_and_counts_from_before_the_question(room_of: OpenRoom) -> None:
    room = await room_of()
    before = time.monotonic()
    allowance = await room.provider_check.still_allowed(BUCKET, [a_message()], now())
    assert before <= allowance.checked_at <= time.monotonic()
    assert allowance.good_until == allowance.checked_at + room.bound.good_s
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
    return ProviderCheck(
        _NoRedis(), PreferenceRepository(shards, 0.3), staleness_bound_of(settings.preferences), CATEGORIES
    )
