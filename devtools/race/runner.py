"""Many seeds at once on one set of real stores, while a fault happens again and again. In: what to run. Out: a `Race`."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devtools.race.invariants import Observations, violations
from devtools.race.schedule import ChoiceEvent, plan_of
from devtools.race.steps import CATEGORY, RaceSteps, Table
from notify_streams.preferences.assembly import PreferenceComponents, build_components
from notify_streams.preferences.staleness_bound import staleness_bound_of
from notify_streams.stores.mongo import Shards
from notify_streams.stores.redis import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from devtools.race.faults import Fault
    from devtools.race.schedule import RaceSchedule
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.user_records import PreferenceUpdate
    from notify_streams.settings import PreferenceSettings, Settings

#: Short times, so that a backlog longer than the deltas' life takes seconds. The bound itself is the real one.
_DELTA_TTL_S: Final = 2.0
_CACHE_TTL_S: Final = 0.5
_TABLE_LAG_S: Final = 0.3
_AT_ONCE: Final = 60
#: Seeds that start together do not start at the very same moment.
_SPREAD_S: Final = 1.0
_KEPT_EXAMPLES: Final = 20


@dataclass(slots=True)
class Race:
    """What a race found; `holds` only if nothing was violated and something was tried."""

    seeds: int = 0
    calls: int = 0
    suppressions: int = 0
    acknowledged: int = 0
    not_acknowledged: int = 0
    put_off: int = 0
    #: Decisions with the table alone, because neither Redis nor MongoDB answered: these may lack an opt-in.
    table_only: int = 0
    violations: int = 0
    #: The first violations, in words.
    examples: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return self.violations == 0 and self.calls > 0 and self.acknowledged > 0

    def add(self, story: Observations, bound_s: float) -> None:
        self.seeds += 1
        self.calls += len(story.calls)
        self.suppressions += len(story.suppressions)
        self.put_off += story.put_off
        done = sum(choice.acknowledged_at is not None for choice in story.choices)
        self.acknowledged += done
        self.not_acknowledged += len(story.choices) - done
        found = list(violations(story, bound_s))
        self.violations += len(found)
        self.examples += found[: _KEPT_EXAMPLES - len(self.examples)]

    def as_json(self) -> dict[str, Any]:
        return {"holds": self.holds, **asdict(self)}


async def run_race(
    settings: Settings,
    categories: Categories,
    plans: Sequence[RaceSchedule],
    fault: Fault,
    *,
    prefix: str,
    at_once: int = _AT_ONCE,
    on_progress: Callable[[Race], None] = lambda race: None,
) -> Race:
    """Run `plans` on the stores of `settings` (its database is dropped afterwards) and judge them.

    Redis is hurt by `fault` all the while, so it should be one that nobody else needs now.
    """
    settings = msgspec.structs.replace(settings, preferences=shortened(settings.preferences))
    race = Race()
    try:
        async with AsyncExitStack() as open_, _hurting(settings, fault, plans[0].seed):
            table = Table(_TABLE_LAG_S)
            router, worker, writer = [
                await open_.enter_async_context(_process(settings, categories, table, prefix)) for _ in range(3)
            ]
            limit = asyncio.Semaphore(at_once)

            async def one(plan: RaceSchedule) -> None:
                async with limit:
                    story = Observations(plan.seed)
                    bucket = plan.seed % settings.partitions
                    category = categories[CATEGORY]
                    stages = RaceSteps(router, worker, writer, table, category, story, plan.user_id, bucket)
                    await _live(plan, stages)
                    race.add(story, settings.preferences.bound_s)
                    on_progress(race)

            async with asyncio.TaskGroup() as group:
                for plan in plans:
                    group.create_task(one(plan))
            race.table_only = router.decision.table_only
    finally:
        await _drop(settings)
    return race


async def _live(plan: RaceSchedule, stages: RaceSteps) -> None:
    await asyncio.sleep(Random(plan.seed).uniform(0, _SPREAD_S))
    await stages.choose(ChoiceEvent(0, "http", plan.opted_in_at_start))
    began = time.monotonic()

    async def at(moment_s: float) -> None:
        await asyncio.sleep(began + moment_s - time.monotonic())

    async def choose() -> None:
        for choosing in plan.choices:
            await at(choosing.at_s)
            await stages.choose(choosing)

    async def trigger(place: int) -> None:
        await at(plan.passages[place].at_s)
        await stages.pass_through(plan.passages[place])

    async with asyncio.TaskGroup() as group:
        group.create_task(choose())
        for place in range(len(plan.passages)):
            group.create_task(trigger(place))


async def _drop(settings: Settings) -> None:
    shards = Shards(settings)
    await shards.start()
    for shard in range(len(shards)):
        await shards.client(shard).drop_database(settings.database)
    await shards.close()


def plans_of(seeds: Iterable[int], settings: Settings) -> list[RaceSchedule]:
    """The plans of these seeds, to the times that a race with `settings` has."""
    young_s = staleness_bound_of(shortened(settings.preferences)).young_s
    return [plan_of(seed, young_s) for seed in seeds]


def shortened(preferences: PreferenceSettings) -> PreferenceSettings:
    """The settings with which a race runs."""
    return msgspec.structs.replace(preferences, delta_ttl_s=_DELTA_TTL_S, cache_ttl_s=_CACHE_TTL_S)


@asynccontextmanager
async def _process(
    settings: Settings, categories: Categories, table: Table, prefix: str
) -> AsyncIterator[PreferenceComponents]:
    """The parts of one process, with its own connections and its keeper."""
    shards, redis = Shards(settings), connect(settings)
    await shards.start()

    async def publish(updates: Sequence[tuple[int, PreferenceUpdate]]) -> None:
        """The topic, and the agent that follows it."""
        people = {update.user_id: bucket for bucket, update in updates}
        for user_id, bucket in people.items():
            rows = await parts.durable.rows(bucket, [user_id])
            asyncio.get_running_loop().call_later(table.lag_s, table.take, rows)

    parts = build_components(settings, shards, redis, categories, publish, table.read, lambda: table.lag_s, prefix)
    await parts.durable.ensure_indexes()
    keeping = asyncio.create_task(parts.keeper.run())
    try:
        yield parts
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        await shards.close()
        await redis.aclose()


@asynccontextmanager
async def _hurting(settings: Settings, fault: Fault, seed: int) -> AsyncIterator[None]:
    redis, random = connect(settings), Random(seed)

    async def again_and_again() -> None:
        task = asyncio.current_task()
        while task is None or not task.cancelling():
            with suppress(Exception):
                await fault(redis, random)
            await asyncio.sleep(0)

    hurting = asyncio.create_task(again_and_again())
    try:
        yield
    finally:
        hurting.cancel()
        with suppress(asyncio.CancelledError):
            await hurting
        await redis.aclose()
