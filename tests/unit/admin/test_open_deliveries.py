"""A timer is written with its attempt; the ledger counts the attempt when those before it are settled, too."""

from __future__ import annotations

import pytest

from notify_streams.admin.audit.compare import Difference, compare
from notify_streams.admin.audit.snapshot import Extent, RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals
from notify_streams.delivery.delivery_ledger import COUNTS
from notify_streams.settings import Settings


def differences(next_offset: int, end: int, timers: int) -> list[Difference]:
    """Of a region whose push ledger has counted everything up to `next_offset` as sent."""
    counts = dict.fromkeys(COUNTS, 0) | {"taken": next_offset, "fresh": next_offset, "sent": next_offset}
    places = {"role": "push", "topic": "push", "partition": 3, "bucket": 3}
    ledger = counts | places | {"_id": "push:push:3", "first_offset": 0, "next_offset": next_offset}
    snapshot = RegionSnapshot("us", [ledger], {("push", 3): Extent(0, end)})
    snapshot.timers["push", 3] = timers
    settings = Settings(region="us", kafka="k", shards=("m",), redis="r")
    return [one for one in compare(settings, snapshot, RegionTotals()) if one.check == "ledger against timers"]


@pytest.mark.parametrize(("end", "in_flight"), [(12, True), (11, False), (10, False)])
def test_timers_of_messages_that_are_not_counted_yet_are_in_flight(end: int, in_flight: bool) -> None:
    (found,) = differences(10, end, timers=2)
    assert (found.expected, found.found, found.in_flight) == (0, 2, in_flight)


def test_without_a_timer_too_many_there_is_no_difference() -> None:
    assert not differences(10, 12, timers=0)
