"""Races of a region that returns during a failover, each found by `test_epochs`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from devtools.fakes.memory_control_log import MemoryControlLog
from notify_streams.regions.failover.command import fail_over
from notify_streams.regions.failover.placement_follower import PlacementFollower
from notify_streams.regions.failover.protocol import ControlRecord

REGIONS = ("us", "eu", "asia")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


class HookedLog(MemoryControlLog):
    """Runs a hook once, before the first append of a given step."""

    def __init__(self, region: str) -> None:
        super().__init__(region)
        self.hook: tuple[str, Callable[[], Awaitable[None]]] | None = None

    async def append(self, record: ControlRecord) -> None:
        if self.hook is not None and self.hook[0] == record.step:
            hook, self.hook = self.hook[1], None
            await hook()
        await super().append(record)


@pytest.fixture
def logs() -> dict[str, HookedLog]:
    return {name: HookedLog(name) for name in REGIONS}


def a_worker(logs: dict[str, HookedLog], name: str) -> PlacementFollower:
    async def fence(_: int) -> None:
        return

    return PlacementFollower(REGIONS, logs[name], {other: log for other, log in logs.items() if other != name}, fence)


def serves(worker: PlacementFollower, home: str) -> bool:
    return worker.placement is not None and worker.placement.serves(home)


def a_claim(epoch: int, token: str, step: Any = "claim") -> ControlRecord:
    return ControlRecord("eu", epoch, step, "us", token, NOW)


async def test_a_change_begun_while_the_region_was_away_is_a_release(logs: dict[str, HookedLog]) -> None:
    for name in ("us", "asia"):
        logs[name].records.append(a_claim(1, "a"))  # the command ends here
    eu = a_worker(logs, "eu")
    await eu.load()
    assert not serves(eu, "eu")
    done = await fail_over(logs, "eu", "eu", stopped=("us",))
    await eu.step()
    assert done.epoch == 2 and serves(eu, "eu")


async def test_a_claim_between_the_two_writes_of_a_start_is_not_missed(logs: dict[str, HookedLog]) -> None:
    logs["us"].records.append(a_claim(1, "a"))

    async def second_claim() -> None:
        logs["eu"].records.append(a_claim(2, "b"))

    logs["eu"].hook = ("release", second_claim)
    eu = a_worker(logs, "eu")
    await eu.load()
    assert not serves(eu, "eu")


async def test_a_return_between_a_commands_read_and_its_claim_is_noticed(logs: dict[str, HookedLog]) -> None:
    us, eu = a_worker(logs, "us"), a_worker(logs, "eu")
    await us.load()
    logs["eu"].away = True
    stopped: list[str] = []

    async def return_now() -> None:
        logs["eu"].away = False
        await eu.load()

    async def is_running(region: str) -> bool:
        await eu.step()  # a worker that runs reads its release
        stopped.append(region)
        return True

    logs["us"].hook = ("claim", return_now)
    await fail_over(logs, "eu", "us", is_running=is_running)
    await us.step()
    assert serves(us, "eu") and stopped == ["eu"]
    assert not serves(eu, "eu")
