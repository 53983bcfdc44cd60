"""Lists of millions hold what they show and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from notify_streams.admin.deliveries import FoundDelivery
from notify_streams.cli.deliveries import newest

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


async def test_no_more_deliveries_are_kept_than_are_shown() -> None:
    async def read() -> AsyncIterator[FoundDelivery]:
        for number in range(1000):
            at = NOON - timedelta(seconds=abs(number - 500))  # no shard has all of the last ones
            yield FoundDelivery(f"d-{number}", "push", 0, "payments", at, "failed", None, None, None, 1, False, None)

    count, shown = await newest(read(), 3)
    assert count == 1000 and [one.id for one in shown] == ["d-500", "d-501", "d-499"]
