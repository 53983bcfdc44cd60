"""Runs many seeds concurrently on real stores while a fault of Redis is repeated."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devtools.race.invariants import Observations, violations
from devtools.race.schedule import ChoiceEvent, schedule_of
from devtools.race.steps import CATEGORY, RaceSteps, Table
from notify_streams import tasks
from notify_streams.preferences.service import PreferenceService
from notify_streams.preferences.staleness_bound import staleness_bound_of
from notify_streams.stores.mongo import Shards
from notify_streams.stores.redis import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from devtools.race.faults import Fault
    from devtools.race.schedule import MessageSchedule, RaceSchedule
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.user_records import PreferenceUpdate
    from notify_streams.settings import PreferenceSettings, Settings

#: Short, so that a backlog can outlast the deltas within seconds. The staleness bound is the real one.
_DELTA_TTL_S: Final = 2.0
_CACHE_TTL_S: Final = 0.5
_TABLE_LAG_S: Final = 0.3
_CONCURRENT: Final = 60
#: Seeds start at random times within this.
_SPREAD_S: Final = 1.0
_MAX_EXAMPLES: Final = 50


@dataclass(slots=True)
class RaceResult:
    """Counts of a race. It holds if nothing was violated, and there were calls and acknowledged choices."""

    seeds: int = 0
    calls: int = 0
    suppressions: int = 0
    acknowledged: int = 0
    not_acknowledged: int = 0
    failed_checks: int = 0
    #: Decisions by the table alone, because neither Redis nor MongoDB responded. They may miss an opt-in.
    table_only: int = 0
    violations: int = 0
    #: The first violations.
    examples: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return self.violations == 0 and self.calls > 0 and self.acknowledged > 0

    def add(self, observations: Observations, bound_s: float) -> None:
        self.seeds += 1
        self.calls += len(observations.calls)
        self.suppressions += len(observations.suppressions)
        self.failed_checks += observations.failed_checks
        acknowledged = sum(choice.acknowledged_at is not None for choice in observations.choices)
        self.acknowledged += acknowledged
        self.not_acknowledged += len(observations.choices) - acknowledged
        found = list(violations(observations, bound_s))
        self.violations += len(found)
        self.examples += found[: _MAX_EXAMPLES - len(self.examples)]

    def as_json(self) -> dict[str, Any]:
        return {"holds": self.holds, **asdict(self)}


async def run_race(
    settings: Settings,
    categories: Categories,
    schedules: Sequence[RaceSchedule],
    fault: Fault,
    *,
    prefix: str,
    on_progress: Callable[[RaceResult], None] = lambda result: None,
) -> RaceResult:
    """Run `schedules` on the stores of `settings` and check the invariants. The database is dropped afterwards.

    `fault` is repeated on its Redis, so that must not be used by others.
    """
    settings = msgspec.structs.replace(settings, preferences=shortened(settings.preferences))
    result = RaceResult()
    try:
        async with AsyncExitStack() as closing, _repeated_fault(settings, fault, schedules[0].seed):
            table = Table(_TABLE_LAG_S)
            router, worker, writer = [
                await closing.enter_async_context(process_preferences(settings, categories, table, prefix))
                for _ in range(3)
            ]
            check = router.decision_check(table.read, lambda: table.lag_s)
            limit = asyncio.Semaphore(_CONCURRENT)

            async def run_one(schedule: RaceSchedule) -> None:
                async with limit:
                    observations = Observations(schedule.seed)
                    bucket = schedule.seed % settings.partitions
                    category = categories[CATEGORY]
                    steps = RaceSteps(check, worker, writer, table, category, observations, schedule.user_id, bucket)
                    await _run_schedule(schedule, steps)
                    result.add(observations, settings.preferences.bound_s)
                    on_progress(result)

            async with asyncio.TaskGroup() as group:
                for schedule in schedules:
                    group.create_task(run_one(schedule))
            result.table_only = check.table_only
    finally:
        async with Shards(settings) as shards:
            for shard in range(len(shards)):
                await shards.client(shard).drop_database(settings.database)
    return result


async def _run_schedule(schedule: RaceSchedule, steps: RaceSteps) -> None:
    await asyncio.sleep(Random(schedule.seed).uniform(0, _SPREAD_S))
    await steps.choose(ChoiceEvent(0, "http", schedule.opted_in_at_start))
    started = time.monotonic()

    async def wait_until(moment_s: float) -> None:
        await asyncio.sleep(started + moment_s - time.monotonic())

    async def choose() -> None:
        for event in schedule.choices:
            await wait_until(event.at_s)
            await steps.choose(event)

    async def process(message: MessageSchedule) -> None:
        await wait_until(message.at_s)
        await steps.process(message)

    async with asyncio.TaskGroup() as group:
        group.create_task(choose())
        for message in schedule.messages:
            group.create_task(process(message))


def schedules_of(seeds: Iterable[int], settings: Settings) -> list[RaceSchedule]:
    """The schedules of these seeds for a race with `settings`."""
    young_s = staleness_bound_of(shortened(settings.preferences)).young_s
    return [schedule_of(seed, young_s) for seed in seeds]


def shortened(preferences: PreferenceSettings) -> PreferenceSettings:
    """The settings of a race."""
    return msgspec.structs.replace(preferences, delta_ttl_s=_DELTA_TTL_S, cache_ttl_s=_CACHE_TTL_S)


@asynccontextmanager
async def process_preferences(
    settings: Settings, categories: Categories, table: Table, prefix: str
) -> AsyncIterator[PreferenceService]:
    """The preferences of one process, with connections and a lease renewal of its own."""
    shards = Shards(settings)
    await shards.start()

    async def publish(updates: Sequence[tuple[int, PreferenceUpdate]], rows: Mapping[str, bytes]) -> None:
        """In place of the topic and the tables that read it."""
        asyncio.get_running_loop().call_later(table.lag_s, table.apply, rows)

    service = PreferenceService(settings, categories, shards, publish, prefix)
    await service.repository.ensure_indexes()
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
        await shards.close()


@asynccontextmanager
async def _repeated_fault(settings: Settings, fault: Fault, seed: int) -> AsyncIterator[None]:
    redis, random = connect(settings), Random(seed)

    async def repeat() -> None:
        task = asyncio.current_task()
        while task is None or not task.cancelling():
            with suppress(Exception):
                await fault(redis, random)
            await asyncio.sleep(0)

    repeating = asyncio.create_task(repeat())
    try:
        yield
    finally:
        await tasks.stop([repeating])
        await redis.aclose()
