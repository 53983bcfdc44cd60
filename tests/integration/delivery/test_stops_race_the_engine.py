"""Stops race with messages that wait in the delivery engine: no call begins later than the bound after a stop was acknowledged.

The long form: ``python -m devtools.race --seeds 1000 --engine all_of_them``.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from devtools.race.beginnings import STOPPED
from devtools.race.engine_race import CONDITIONS, Condition, run_engine_race
from devtools.race.runner import RaceResult
from notify_streams.preferences.provider_check import SendPermission
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.settings import Settings
from tests.builders import categories

pytestmark = pytest.mark.stack
SEEDS = range(1, 25)


async def race(shards: list[str], redis: str, condition: Condition, **but: Any) -> RaceResult:
    name = f"race_{uuid4().hex[:8]}"
    settings = Settings(region="us", kafka="none", shards=tuple(shards), redis=redis, database=name)
    return await run_engine_race(settings, categories(), SEEDS, condition, prefix=name, **but)


async def test_no_call_begins_after_a_stop(mongo_shards: list[str], redis_url: str) -> None:
    """Under each condition, at the same time, with a database of its own."""
    results = await asyncio.gather(*(race(mongo_shards, redis_url, one) for one in CONDITIONS.values()))
    for name, result in zip(CONDITIONS, results, strict=True):
        assert result.examples == [], name
        assert result.holds and result.seeds == len(SEEDS), name
        assert result.suppressions >= len(SEEDS) // 2 and result.not_acknowledged == 0, name


class NoCheck:
    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
        at = time.monotonic()
        return SendPermission([None] * len(messages), at, at + 0.35)


async def test_without_the_check_each_way_to_stop_is_violated(mongo_shards: list[str], redis_url: str) -> None:
    result = await race(mongo_shards, redis_url, Condition(messages=8), check_of=lambda _: NoCheck())
    assert {example.rpartition(" ")[2] for example in result.examples} == set(STOPPED)
    assert result.suppressions == 0
