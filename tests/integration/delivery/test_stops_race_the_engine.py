"""Stops race with messages that wait in the delivery engine: no call begins later than the bound after a stop was acknowledged.

The long form: ``python -m devtools.race --seeds 1000 --engine all_of_them``.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from devtools.race.beginnings import STOPPED
from devtools.race.engine_race import Condition, run_engine_race
from devtools.race.runner import RaceResult
from notify_streams.preferences.provider_check import SendPermission
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.settings import Settings
from tests.builders import categories

pytestmark = pytest.mark.stack
SEEDS = range(1, 25)
HELD_UP = Condition(calls_per_s=40.0, fails_s=1.2, messages=8, max_in_flight=4)


async def race(shards: list[str], redis: str, condition: Condition, **but: Any) -> RaceResult:
    name = f"race_{uuid4().hex[:8]}"
    settings = Settings(region="us", kafka="none", shards=tuple(shards), redis=redis, database=name)
    return await run_engine_race(settings, categories(), SEEDS, condition, prefix=name, **but)


async def test_no_call_begins_after_a_stop(mongo_shards: list[str], redis_url: str) -> None:
    """With a small budget, a provider that fails half of the time, few connections and a queue for seconds."""
    result = await race(mongo_shards, redis_url, HELD_UP)
    assert result.examples == []
    assert result.holds and result.seeds == len(SEEDS)
    assert result.suppressions > len(SEEDS) and result.not_acknowledged == 0


class NoCheck:
    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
        at = time.monotonic()
        return SendPermission([None] * len(messages), at, at + 0.35)


async def test_without_the_check_each_way_to_stop_is_violated(mongo_shards: list[str], redis_url: str) -> None:
    """In one race or several: on a busy machine a message can be called before its stop, whatever is checked."""
    violated: set[str] = set()
    for _ in range(6):
        result = await race(mongo_shards, redis_url, Condition(messages=8), check_of=lambda _: NoCheck())
        violated |= {example.rpartition(" ")[2] for example in result.examples}
        assert result.suppressions == 0
        if violated == set(STOPPED):
            break
    assert violated == set(STOPPED)
