"""The check before a call: what may be older than a delta lives is looked up, whatever one clock shows (R11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notify_streams.preferences.provider_check import ProviderCheck
from notify_streams.preferences.row_codec import encode_row
from notify_streams.preferences.staleness_bound import staleness_bound_of
from notify_streams.records.outcomes import Reason
from notify_streams.settings import PreferenceSettings
from notify_streams.stores.shard_clocks import ShardClocks
from tests.builders import ShardsWithClock
from tests.unit.preferences.preference_builders import a_message, the_categories

CATEGORIES = the_categories()
RIGHT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
HOUR = 3600.0


class Deltas:
    """The opt-out was so long ago that its delta has ended."""

    async def read(self, user_ids: Sequence[str]) -> list[None]:
        return [None] * len(user_ids)


class Records:
    """Everybody has opted out of everything."""

    async def rows(self, bucket: int, user_ids: Sequence[str]) -> dict[str, bytes]:
        row = encode_row(9, {category.number: {"push": False} for category in CATEGORIES.values()})
        return dict.fromkeys(user_ids, row)


async def clocks_with(own_ahead_s: float) -> ShardClocks:
    """Those of a worker whose own clock is ahead, beside a shard with the right time."""
    shards: Any = ShardsWithClock(lambda: RIGHT)
    clocks = ShardClocks(shards, 5.0, monotonic=lambda: 7.0, now=lambda: RIGHT.timestamp() + own_ahead_s)
    await clocks.read(0)
    return clocks


@pytest.mark.parametrize("worker_ahead_s", [-24 * HOUR, -HOUR, 0.0, HOUR], ids=str)
@pytest.mark.parametrize("router_ahead_s", [-24 * HOUR, -HOUR, 0.0, HOUR, 24 * HOUR], ids=str)
@pytest.mark.parametrize("age_s", [230.0, 1000.0, HOUR + 100.0, 24 * HOUR + 100.0], ids=str)
async def test_no_wrong_clock_hides_an_opt_out(worker_ahead_s: float, router_ahead_s: float, age_s: float) -> None:
    """The decision is so old that an opt-out after it may have no delta any more."""
    parts: Any = (Deltas(), Records(), staleness_bound_of(PreferenceSettings()), CATEGORIES)
    decided_by, checked_by = await clocks_with(router_ahead_s), await clocks_with(worker_ahead_s)
    decided_at = decided_by.earliest(0) - timedelta(seconds=age_s)
    message = a_message(category="marketing", decided_at=decided_at)
    found = await ProviderCheck(*parts).still_allowed(3, [message], checked_by.later_now(0))
    assert found.reasons == [Reason.OPTED_OUT]


@pytest.mark.parametrize(
    ("ahead_s", "looked_up"), [(-200.0, False), (10.0, False), (20.0, True), (HOUR, True)], ids=str
)
async def test_a_decision_from_the_future_has_an_unknown_age(ahead_s: float, looked_up: bool) -> None:
    parts: Any = (Deltas(), Records(), staleness_bound_of(PreferenceSettings()), CATEGORIES)
    decided_at = RIGHT + timedelta(seconds=ahead_s)
    message = a_message(category="marketing", decided_at=decided_at)
    found = await ProviderCheck(*parts).still_allowed(3, [message], RIGHT)
    assert found.reasons == [Reason.OPTED_OUT if looked_up else None]
