"""For each check a story that goes wrong without it, and goes well with it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from devtools.race.invariants import Observations, violations
from devtools.race.schedule import ChoiceEvent
from devtools.race.steps import CATEGORY, RaceSteps, Table
from notify_streams.settings import PreferenceSettings
from tests.integration.preferences.conftest import HurtableRedis, OpenEnv
from tests.integration.preferences.preference_fixtures import BUCKET, CATEGORIES, ProcessPreferences
from tests.waiting import until

pytestmark = pytest.mark.stack

IN, OUT = ChoiceEvent(0, "http", True), ChoiceEvent(0, "http", False)
SHORT = PreferenceSettings(delta_ttl_s=2, cache_ttl_s=0.5)


async def in_while_the_table_says_out(stages: Any, redis: Any) -> None:
    await stages.choose(OUT)
    stages.table.apply(await stages.worker.repository.rows(BUCKET, [stages.user_id]))
    await stages.choose(IN)
    message = await stages.decide()
    if message is not None:
        await stages.work(message, 0, "queued")


async def out_after_it_was_decided(stages: Any, redis: Any) -> None:
    message = await stages.decide()
    await stages.choose(OUT)
    await stages.work(message, 0, "queued")


async def out_so_long_ago_that_the_delta_is_gone(stages: Any, redis: Any) -> None:
    message = await stages.decide()
    await stages.choose(OUT)

    async def is_gone() -> bool:
        found: list[bytes | None] | None = await stages.worker.deltas.read([stages.user_id])
        return found == [None]

    # A renewal of the lease that copies it again gives it its whole life once more.
    await until(is_gone)
    await stages.work(message, 0, "queued")


async def out_after_it_was_claimed(stages: Any, redis: Any) -> None:
    message = await stages.decide()
    working = asyncio.create_task(stages.work(message, 4, "queued"))
    await asyncio.sleep(0.5)
    await stages.choose(OUT)
    await working


async def out_and_redis_forgot(stages: Any, redis: Any) -> None:
    message = await stages.decide()
    await stages.choose(OUT)
    with redis.commands() as commands:
        commands.flushall()
        if stages.without == "lease":
            commands.set(stages.worker.deltas.lease_key, "1")
    await stages.work(message, 0, "queued")


STORIES = {
    "decision": (in_while_the_table_says_out, PreferenceSettings()),
    "delta": (out_after_it_was_decided, PreferenceSettings()),
    "durable": (out_so_long_ago_that_the_delta_is_gone, SHORT),
    "recheck": (out_after_it_was_claimed, PreferenceSettings()),
    "lease": (out_and_redis_forgot, PreferenceSettings()),
}


@pytest.mark.parametrize("lacks", [False, True], ids=["all checks", "without it"])
@pytest.mark.parametrize("check", STORIES)
async def test_each_check_is_needed(
    env_of: OpenEnv,
    redis: HurtableRedis,
    kept: Callable[[ProcessPreferences], Awaitable[None]],
    check: Any,
    lacks: bool,
) -> None:
    story, preferences = STORIES[check]
    router, worker, writer = [await env_of(preferences=preferences) for _ in range(3)]
    if not (lacks and check == "lease"):
        await kept(router)
    else:
        with redis.commands() as commands:
            commands.set(router.deltas.lease_key, "1")
    observations = Observations(1)
    without = check if lacks else None
    user = f"u-{uuid4().hex[:6]}"
    await story(
        RaceSteps(
            router.decision, worker, writer, Table(30.0), CATEGORIES[CATEGORY], observations, user, BUCKET, without
        ),
        redis,
    )
    found = list(violations(observations, preferences.bound_s))
    assert bool(found) is lacks, found
    assert observations.calls or observations.suppressions
