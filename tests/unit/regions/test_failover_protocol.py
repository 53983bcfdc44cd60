"""The failover protocol: which records take effect, and the failover command."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devtools.fakes.memory_control_log import MemoryControlLog
from notify_streams.errors import Refused, RetryLater
from notify_streams.records.trigger import Rejection
from notify_streams.regions.failover.command import fail_over
from notify_streams.regions.failover.log import read_control_record
from notify_streams.regions.failover.placement_follower import PlacementFollower
from notify_streams.regions.failover.protocol import (
    ControlRecord,
    apply_record,
    fold,
    initial_homes,
    majority,
    required_logs,
)
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REGIONS = ("us", "eu", "asia")
NOW = datetime(2026, 11, 22, tzinfo=UTC)

steps = st.builds(
    ControlRecord,
    home=st.just("eu"),
    epoch=st.integers(1, 4),
    step=st.sampled_from(("claim", "release", "released", "serve")),
    server=st.sampled_from(REGIONS),
    token=st.sampled_from("ab"),
    at=st.just(NOW),
)


def a_record(step: Any, epoch: int = 1, server: str = "us", token: str = "a") -> ControlRecord:
    return ControlRecord("eu", epoch, step, server, token, NOW)


@given(st.lists(steps, max_size=12))
def test_an_epoch_never_decreases(records: list[ControlRecord]) -> None:
    home = initial_homes(REGIONS)["eu"]
    for record in records:
        following = apply_record(home, record)
        assert (following.epoch, following.claimed) >= (home.epoch, home.claimed)
        if following.epoch == home.epoch and home.server is not None:
            assert following.server == home.server
        home = following


@given(st.lists(steps, max_size=12))
def test_reading_a_log_twice_changes_nothing(records: list[ControlRecord]) -> None:
    homes = fold(initial_homes(REGIONS), records)
    settled = {name: home for name, home in homes.items() if home.server is not None}
    again = fold(homes, [record for record in records if record.step == "serve"])
    assert {name: again[name] for name in settled} == settled


def test_the_first_claim_of_an_epoch_holds() -> None:
    homes = fold(
        initial_homes(REGIONS),
        [a_record("claim", token="a"), a_record("claim", token="b"), a_record("serve", token="b")],
    )
    assert homes["eu"].server == "eu"
    assert fold(homes, [a_record("serve", token="a")])["eu"].server == "us"


def test_a_command_with_a_lower_epoch_is_void() -> None:
    overtaken = [a_record("claim"), a_record("claim", 2, "asia", "b"), a_record("release"), a_record("serve")]
    assert fold(initial_homes(REGIONS), overtaken)["eu"].server == "eu"


@pytest.mark.parametrize("count", range(1, 8))
def test_required_logs_include_one_of_every_majority(count: int) -> None:
    regions = [str(number) for number in range(count)]
    assert majority(regions) + required_logs(regions) > count
    assert majority(regions) * 2 > count


class Region:
    """A region with one worker that follows its log."""

    def __init__(self, logs: dict[str, MemoryControlLog], name: str, **but: Any) -> None:
        self.fenced: list[int] = []
        others = {other: log for other, log in logs.items() if other != name}
        self.follower = PlacementFollower(REGIONS, logs[name], others, self._fence, **but)

    async def _fence(self, epoch: int) -> None:
        self.fenced.append(epoch)

    def serves(self, home: str) -> bool:
        return self.follower.placement is not None and self.follower.placement.serves(home)


@asynccontextmanager
async def following(*regions: Region) -> AsyncIterator[None]:
    for region in regions:
        await region.follower.load()
    tasks = [asyncio.create_task(region.follower.run()) for region in regions]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def logs() -> dict[str, MemoryControlLog]:
    return {name: MemoryControlLog(name) for name in REGIONS}


async def test_a_running_region_stops_before_the_other_serves(logs: dict[str, MemoryControlLog]) -> None:
    us, eu = Region(logs, "us"), Region(logs, "eu")
    async with following(us, eu):
        done = await fail_over(logs, "eu", "us")
        assert (done.epoch, done.released, done.away) == (1, ("eu",), ())
        assert not eu.serves("eu") and eu.fenced
        await until(lambda: us.serves("eu") and us.serves("us"))


async def test_a_region_that_was_replaced_while_away_reads_of_it_before_it_serves(
    logs: dict[str, MemoryControlLog],
) -> None:
    us = Region(logs, "us")
    logs["eu"].away = True
    async with following(us):
        done = await fail_over(logs, "eu", "us")
        assert (done.released, done.away) == ((), ("eu",))
        logs["eu"].away = False
        eu = Region(logs, "eu")
        await eu.follower.load()
        assert not eu.serves("eu")
        following_eu = asyncio.create_task(eu.follower.run())
        back = await fail_over(logs, "eu", "eu")
        assert back.server == "eu" and back.released == ("us",)
        await until(lambda: eu.serves("eu"))
        following_eu.cancel()


async def test_a_repeated_command_is_one_change(logs: dict[str, MemoryControlLog]) -> None:
    async with following(Region(logs, "us"), Region(logs, "eu")):
        first = await fail_over(logs, "eu", "us")
        second = await fail_over(logs, "eu", "us")
        assert (first.epoch, second.epoch) == (1, 1)


async def test_a_region_that_reaches_no_other_serves_only_with_the_operators_word(
    logs: dict[str, MemoryControlLog],
) -> None:
    logs["us"].away = logs["asia"].away = True
    closed = Region(logs, "eu")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(closed.follower.load(), 0.5)
    assert closed.follower.placement is None
    assert "1 of 2 control logs" in str(closed.follower.waiting_for)
    allowed = Region(logs, "eu", alone=True)
    await allowed.follower.load()
    assert allowed.serves("eu")


async def test_the_only_region_waits_for_no_other_worker(logs: dict[str, MemoryControlLog]) -> None:
    """It takes a second and more to see whether others run, and nothing depends on it."""

    class Unasked:
        async def beat(self) -> None:
            return

        async def others_run(self) -> bool:
            raise AssertionError

    async def fence(epoch: int) -> None:
        raise AssertionError

    follower = PlacementFollower(REGIONS, logs["us"], {}, fence, Unasked(), alone=True)
    assert (await follower.load()).serves("us")


async def test_without_a_majority_the_command_is_refused(logs: dict[str, MemoryControlLog]) -> None:
    logs["eu"].away = logs["asia"].away = True
    with pytest.raises(Refused, match="1 of 3 regions answer"):
        await fail_over(logs, "eu", "us")


async def test_a_region_that_answers_and_does_not_stop_is_not_replaced(logs: dict[str, MemoryControlLog]) -> None:
    with pytest.raises(Refused, match="--stopped eu"):
        await fail_over(logs, "eu", "us", release_timeout_s=0.2)
    done = await fail_over(logs, "eu", "us", stopped=("eu",))
    assert done.epoch == 2
    late = Region(logs, "eu")
    await late.follower.load()
    assert not late.serves("eu")


async def test_a_region_without_workers_need_not_confirm(logs: dict[str, MemoryControlLog]) -> None:
    async def is_running(region: str) -> bool:
        return region != "eu"

    assert (await fail_over(logs, "eu", "us", is_running=is_running)).released == ()


async def test_without_a_raised_fence_no_release_is_confirmed(logs: dict[str, MemoryControlLog]) -> None:
    async def broken(epoch: int) -> None:
        raise RetryLater("a shard does not answer")

    others = {name: log for name, log in logs.items() if name != "eu"}
    follower = PlacementFollower(REGIONS, logs["eu"], others, broken)
    await follower.load()
    running = asyncio.create_task(follower.run())
    with pytest.raises(Refused, match="has not stopped"):
        await fail_over(logs, "eu", "us", release_timeout_s=0.5)
    running.cancel()


async def test_a_finished_change_reaches_a_region_that_was_cut_off(logs: dict[str, MemoryControlLog]) -> None:
    asia = Region(logs, "asia")
    async with following(Region(logs, "us"), Region(logs, "eu"), asia):
        logs["asia"].away = True
        await fail_over(logs, "eu", "us")
        logs["asia"].away = False
        await asia.follower.gossip()
        await asia.follower.step()
        assert asia.follower.placement is not None
        assert asia.follower.placement.server_of("eu") == "us"


async def test_an_unknown_region_is_refused(logs: dict[str, MemoryControlLog]) -> None:
    with pytest.raises(Refused, match="unknown region 'mars'"):
        await fail_over(logs, "eu", "mars")


forged_records = st.fixed_dictionaries(
    {
        "home": st.sampled_from((*REGIONS, "nowhere")),
        "epoch": st.integers() | st.sampled_from((2**53 - 1, 2**53, 2**62, 2**64, 10**40)),
        "step": st.sampled_from(("claim", "release", "released", "serve")),
        "server": st.sampled_from((*REGIONS, "nowhere")),
        "token": st.sampled_from("ab"),
        "at": st.just(NOW.isoformat()),
    }
)


def forged(step: str, epoch: int) -> dict[str, Any]:
    return {"home": "asia", "epoch": epoch, "step": step, "server": "us", "token": "a", "at": NOW.isoformat()}


@given(st.lists(forged_records, max_size=6), st.sampled_from(REGIONS))
@example([forged("release", 1_000_000)], "us")
@example([forged("claim", 1_000_000), forged("claim", 2_000_000)], "eu")
def test_no_number_in_a_control_record_stops_followers_or_commands(records: list[Any], entry: str) -> None:
    async def scenario() -> None:
        logs = {region: MemoryControlLog(region) for region in REGIONS}
        read = [read_control_record(msgspec.json.encode(fields), 0) for fields in records]
        logs[entry].records += [record for record in read if not isinstance(record, Rejection)]
        fences: list[int] = []

        async def fence(epoch: int) -> None:
            fences.append(epoch)

        workers = [
            PlacementFollower(REGIONS, logs[name], {other: logs[other] for other in REGIONS if other != name}, fence)
            for name in REGIONS
        ]
        async with asyncio.timeout(5):
            for worker in workers:
                await worker.load()
            await fail_over(logs, "asia", "us", stopped=REGIONS)
            for worker in workers:
                await worker.step()
                assert worker.placement is not None and worker.placement.server_of("asia") == "us"
        assert all(epoch < 2**63 for epoch in fences)

    asyncio.run(scenario())
