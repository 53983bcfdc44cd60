"""Two regions never serve one user, whatever the order of log operations, crashes and interrupted commands.

Simulates three regions with two workers each, their control logs, and failover commands that may be interrupted. Each operation (a log
read, a log append, raising the fence) waits until the schedule selects it. Time is virtual.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devtools.fakes.memory_control_log import MemoryControlLog
from notify_streams.errors import Refused, RetryLater
from notify_streams.regions.failover.command import FailoverResult, fail_over
from notify_streams.regions.failover.placement_follower import PlacementFollower

REGIONS = ("us", "eu", "asia")


class _Clock(selectors.DefaultSelector):
    """A selector that never waits: it advances the virtual time instead."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += timeout or 0.0
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


class _Worker:
    def __init__(self, world: World, region: str) -> None:
        self.world = world
        self.region = region
        others = {name: log for name, log in world.logs.items() if name != region}
        self.follower = PlacementFollower(REGIONS, world.logs[region], others, self.fence, self)
        self.tasks = [world.start(self.follower.load())]
        self.following: asyncio.Task[Any] | None = None

    async def fence(self, epoch: int) -> None:
        await self.world.pick(f"fence {self.region}")
        self.world.fences[self.region] = max(epoch, self.world.fences[self.region])

    async def beat(self) -> None:
        return

    async def others_run(self) -> bool:
        return any(
            one is not self and one.region == self.region and one.follower.placement is not None
            for one in self.world.workers
        )

    def act(self, doing: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(self.world.start(doing))

    def follow(self) -> None:
        if self.follower.placement is not None and (self.following is None or self.following.done()):
            self.following = self.world.start(self.follower.step())
            self.tasks.append(self.following)

    def serves(self, home: str) -> bool:
        placement = self.follower.placement
        fenced = placement is None or placement.epoch < self.world.fences[self.region]
        return placement is not None and not fenced and placement.serves(home)

    def kill(self) -> None:
        for task in self.tasks:
            task.cancel()


class World:
    """The simulated system, and the schedule that selects the next operation."""

    def __init__(self, choices: list[int]) -> None:
        self.choices = iter(choices)
        self.waiting: list[asyncio.Future[None]] = []
        self.logs = {name: MemoryControlLog(name, lambda: self.pick("log")) for name in REGIONS}
        self.fences = dict.fromkeys(REGIONS, 0)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.commands: list[asyncio.Task[FailoverResult]] = []
        self.workers: list[_Worker] = []
        for name in REGIONS:
            self.workers += [_Worker(self, name), _Worker(self, name)]

    async def pick(self, what: str) -> None:
        selected = asyncio.get_running_loop().create_future()
        self.waiting.append(selected)
        await selected

    def start(self, doing: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        async def refusals_ignored() -> Any:
            with suppress(RetryLater, Refused):
                return await doing

        task = asyncio.ensure_future(refusals_ignored())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(lambda _: doing.close())  # cancelled before its first step, it was never awaited
        return task

    async def run(self) -> None:
        while any(worker.follower.placement is None for worker in self.workers):
            if self.waiting:
                self._go(0)
            await self.settle()
        for choice in self.choices:
            self.do(choice)
            await self.settle()
            self.check()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Run everything that does not wait to be selected; workers with a placement follow their log."""
        for worker in self.workers:
            worker.follow()
        for _ in range(5):
            await asyncio.sleep(0)
        if not self.waiting:
            await asyncio.sleep(0.2)

    def do(self, choice: int) -> None:
        kind, which = choice % 40, choice // 40
        if kind == 0:
            self.fail_or_return(REGIONS[which % 3], which // 3 % 3)
        elif kind in (1, 2):
            self.command(("eu", "eu", "us")[which % 3], REGIONS[which // 3 % 3], interrupt=which // 9 % 4 == 3)
        elif kind == 3 and self.workers:
            worker = self.workers[which % len(self.workers)]
            worker.act(worker.follower.gossip())
        elif self.waiting:
            self._go(which)

    def _go(self, which: int) -> None:
        selected = self.waiting.pop(which % len(self.waiting))
        if not selected.done():
            selected.set_result(None)

    def fail_or_return(self, region: str, how: int) -> None:
        mine = [worker for worker in self.workers if worker.region == region]
        one_worker = how == 2 and len(mine) == 2
        if any(log.away for log in self.logs.values()) or (not one_worker and len(mine) < 2):
            for name in REGIONS:  # everything that is away returns
                self.logs[name].away = False
                running = sum(worker.region == name for worker in self.workers)
                self.workers += [_Worker(self, name) for _ in range(2 - running)]
            return
        self.logs[region].away = not one_worker
        for worker in mine[: 1 if one_worker else 2]:
            worker.kill()
            self.workers.remove(worker)

    def command(self, home: str, to: str, interrupt: bool) -> None:
        under_way = [command for command in self.commands if not command.done()]
        if under_way and (interrupt or len(under_way) == 3):
            under_way[0].cancel()
            return
        self.commands.append(self.start(fail_over(self.logs, home, to, token=f"t{len(self.commands)}-{id(object())}")))

    def check(self) -> None:
        for home in REGIONS:
            serving = {worker.region for worker in self.workers if worker.serves(home)}
            assert len(serving) <= 1, f"{home} is served by {sorted(serving)}"


@given(st.lists(st.integers(0, 1439), min_size=50, max_size=600))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_two_regions_never_serve_one_user(choices: list[int]) -> None:
    loop = _VirtualLoop()
    try:
        loop.run_until_complete(_run(choices))
    finally:
        loop.close()


async def _run(choices: list[int]) -> None:
    await World(choices).run()


@pytest.mark.parametrize("seed", range(30))
def test_two_regions_never_serve_one_user_in_long_schedules(seed: int) -> None:
    """Longer schedules than hypothesis generates; `test_races_of_a_return` holds the races that they found."""
    draw = Random(seed)
    choices = [draw.randrange(1440) for _ in range(900)]
    loop = _VirtualLoop()
    try:
        loop.run_until_complete(_run(choices))
    finally:
        loop.close()
