"""Choices race with messages at every stage while Redis is hurt: nothing is sent against one, nothing withheld against one.

A few races run at once, each with a Redis of its own. The long form:
``python -m devtools.race --seeds 1000 --fault all``.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from devtools.race import faults
from devtools.race.runner import run_race, schedules_of
from devtools.stack.ports import free_port
from notify_streams.settings import Settings
from tests.integration.preferences.conftest import HurtableRedis
from tests.integration.preferences.preference_fixtures import CATEGORIES

pytestmark = pytest.mark.stack
SEEDS = 24
#: Races at once: more and the loop itself, shared by all their processes, would be late.
AT_ONCE = 3


@contextmanager
def a_server(folder: Any) -> Iterator[Any]:
    server = HurtableRedis("redis of a race", folder, free_port())
    server.start()
    server.heal()
    try:
        yield server
    finally:
        server.resume()
        server.kill()


def killed(server: Any) -> Any:
    async def fault(redis: Any, random: Any) -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(random.uniform(0, 0.7))
        await asyncio.to_thread(server.heal)
        await asyncio.sleep(random.uniform(0.5, 1.5))

    return fault


def stopped(server: Any) -> Any:
    async def fault(redis: Any, random: Any) -> None:
        await asyncio.to_thread(server.pause)
        await asyncio.sleep(random.uniform(0.1, 1.5))
        await asyncio.to_thread(server.resume)
        await asyncio.sleep(random.uniform(0.1, 1))

    return fault


HURT = {"none", "flush", "pause", "full", "cut", "killed", "stopped"}


@pytest_asyncio.fixture(scope="module")
async def races(mongo_shards: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each race found, by the name of its fault."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def race(name: Any, folder: Any) -> Any:
        async with limit:
            return await one(name, folder)

    async def one(name: Any, folder: Any) -> Any:
        with ExitStack() as stack:
            server = stack.enter_context(a_server(folder))
            run = f"race_{name}_{uuid4().hex[:6]}"
            settings = Settings(
                region="us", kafka="none", shards=tuple(mongo_shards), redis=server.address, database=run
            )
            fault = {
                "killed": killed(server),
                "stopped": stopped(server),
            } | faults.FAULTS
            hurt = fault.get(name, faults.none)
            return await run_race(settings, CATEGORIES, schedules_of(range(1, SEEDS + 1), settings), hurt, prefix=run)

    names = sorted(HURT)
    found = await asyncio.gather(*(race(name, tmp_path_factory.mktemp(name)) for name in names))
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("fault", sorted(HURT))
def test_no_choice_is_overrun(races: Any, fault: Any) -> None:
    race = races[fault]
    assert race.examples == []
    assert race.holds
    assert race.seeds == SEEDS
    assert min(race.calls, race.suppressions, race.acknowledged) > SEEDS // 2
    assert race.acknowledged > race.not_acknowledged, "MongoDB and Kafka answered all the time"
