"""A timer is due by its shard's clock, never early, whatever the worker's clock shows (R10)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import ConnectionFailure

from notify_streams.stores.shard_clocks import FollowedClocks, ShardClocks
from tests.builders import ShardsWithClock
from tests.waiting import until


class Machine:
    """The clocks of a shard and of a worker; asking the shard takes 20 ms for each way."""

    def __init__(self, *, ahead: timedelta = timedelta()) -> None:
        self.passed_s = 0.0
        self.wall_s = 1_800_000_000.0
        self.ahead = ahead
        self.shards = ShardsWithClock(self._asked)
        shards: Any = self.shards
        self.clocks = ShardClocks(shards, 5.0, monotonic=lambda: self.passed_s, now=lambda: self.wall_s)

    def shown(self) -> datetime:
        """By the shard."""
        return datetime(2026, 11, 28, 12, 0, 0, 123_900, UTC) + timedelta(seconds=self.passed_s) + self.ahead

    def _asked(self) -> datetime:
        self.passed_s += 0.02
        now = self.shown()
        self.passed_s += 0.02
        return now

    def bounds(self) -> tuple[timedelta, timedelta]:
        """How far the least and the most that the worker knows are from what the shard shows."""
        latest = datetime.fromtimestamp(self.clocks.latest_ms(0) / 1000, UTC)
        return self.clocks.earliest(0) - self.shown(), latest - self.shown()


async def test_what_the_shard_shows_lies_between_the_bounds() -> None:
    machine = Machine()
    await machine.clocks.read(0)
    for passed_s in (0.0, 0.0004, 7.7777):
        machine.passed_s += passed_s
        earliest, latest = machine.bounds()
        assert timedelta(milliseconds=-23) <= earliest <= timedelta() <= latest <= timedelta(milliseconds=23)


async def test_the_time_zone_of_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as environ:
        environ.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        machine = Machine()
        await machine.clocks.read(0)
        earliest, latest = machine.bounds()
    time.tzset()
    assert timedelta(milliseconds=-23) <= earliest <= timedelta() <= latest <= timedelta(milliseconds=23)


async def test_a_step_of_the_workers_clock_changes_nothing() -> None:
    machine = Machine()
    await machine.clocks.read(0)
    before = machine.clocks.latest_ms(0), machine.clocks.earliest(0)
    machine.wall_s += 3600
    assert (machine.clocks.latest_ms(0), machine.clocks.earliest(0)) == before


async def test_a_step_of_the_shards_clock_is_known_after_the_next_reading() -> None:
    machine = Machine()
    await machine.clocks.read(0)
    machine.ahead = timedelta(hours=1)
    await machine.clocks.read(0, max_age_s=1.0)
    assert machine.shards.readings == 1
    machine.passed_s += 1.0
    await machine.clocks.read(0, max_age_s=1.0)
    earliest, latest = machine.bounds()
    assert earliest <= timedelta() <= latest


def test_before_the_first_reading_the_workers_clock_counts() -> None:
    machine = Machine()
    assert machine.clocks.latest_ms(0) == 1_800_000_000_000 and machine.clocks.earliest(0).year == 2027


@pytest.mark.parametrize("ahead_s", [-86_400, -3600, -5, 0, 5, 3600, 86_400], ids=str)
async def test_of_two_clocks_the_later_and_the_earlier_are_known(ahead_s: float) -> None:
    """Whichever of the two is wrong: what is too early is never later than the right time, and the other way round."""
    machine = Machine()
    machine.wall_s = machine.shown().timestamp() + ahead_s
    await machine.clocks.read(0)
    near = timedelta(milliseconds=50)
    earlier, later = machine.clocks.earlier_now(0), machine.clocks.later_now(0)
    assert earlier <= machine.shown() + near and later >= machine.shown() - near
    assert later - earlier - timedelta(seconds=abs(ahead_s)) <= 2 * near
    assert earlier.microsecond % 1000 == 0


async def test_followed_clocks_are_read_and_a_shard_that_is_away_delays_no_other() -> None:
    hour = timedelta(hours=1)

    class Two:
        """The clock of the second shard is ahead; the first one does not answer."""

        def __init__(self) -> None:
            self.clock = ShardsWithClock(lambda: datetime.now(UTC) + hour)

        def __len__(self) -> int:
            return 2

        def client(self, shard: int) -> ShardsWithClock:
            if shard == 0:
                raise ConnectionFailure
            return self.clock

    shards: Any = Two()
    clocks = FollowedClocks(shards, 5.0)
    await clocks.start()
    await until(lambda: clocks.later_now(1) > datetime.now(UTC) + hour / 2)
    assert clocks.later_now(0) < datetime.now(UTC) + hour / 2
    await clocks.stop()
