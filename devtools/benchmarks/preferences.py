"""Preference benchmark: checks, changes and imports on a region's real stores.

Uses a database and a key prefix of its own. ``python -m devtools.benchmarks.preferences --overlay .stack/us.yaml``
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import msgspec

from devtools.benchmarks.results import Figure, Goal, figure, report
from devtools.percentiles import percentiles_of
from notify_streams.gc_tuning import tune_gc
from notify_streams.preferences.bulk_import import import_file
from notify_streams.preferences.categories import configured_categories
from notify_streams.preferences.row_cache import RowCache
from notify_streams.preferences.row_codec import encode_row
from notify_streams.preferences.service import PreferenceService
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.settings import load_settings
from notify_streams.stores.mongo import Shards
from notify_streams.stores.redis import connect

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from notify_streams.preferences.categories import Categories
    from notify_streams.roles import Channel
    from notify_streams.settings import Settings

_BATCH: Final = 1_000
_ROUNDS: Final = 200
_PUTS: Final = 300
_UPDATES: Final = 100_000
_ROWS: Final = 1_000_000
_MB: Final = 1_000_000


async def bench_preferences(settings: Settings, categories: Categories) -> list[Figure]:
    """Measure everything once; the lease renewal runs in this process, as in a worker."""
    name = f"bench_{uuid4().hex[:8]}"
    memory = _memory()  # before anything is connected: it blocks the event loop for seconds
    settings = msgspec.structs.replace(settings, database=name)
    shards, redis = Shards(settings), connect(settings)
    await shards.start()

    async def publish(updates: Sequence[tuple[int, PreferenceUpdate]], rows: Mapping[str, bytes]) -> None:
        return

    preferences = PreferenceService(settings, categories, shards, publish, prefix=name)
    await preferences.repository.ensure_indexes()
    await preferences.start()
    try:
        await asyncio.sleep(1)
        return [
            *await _checks(preferences, redis, name),
            await _puts(preferences),
            *await _imports(preferences, settings),
            memory,
        ]
    finally:
        await preferences.stop()
        for shard in range(len(shards)):
            await shards.client(shard).drop_database(name)
        await shards.close()
        await redis.aclose()


async def _checks(preferences: PreferenceService, redis: Redis, name: str) -> list[Figure]:
    decision_check = preferences.decision_check(lambda bucket, user_ids: [None] * len(user_ids), lambda: 0.0)
    users = [f"user-{number:08d}" for number in range(_BATCH)]
    await preferences.writer.apply_updates([(0, _update(user)) for user in users[:50]])
    keys = [f"{name}:{user}" for user in users]
    messages = [ChannelMessage("d", "push", "token", "n", "t", user, "marketing", datetime.now(UTC)) for user in users]

    async def mget() -> None:
        await redis.mget(keys)

    async def decide() -> None:
        await decision_check.rows_for(0, users)

    async def send() -> None:
        await preferences.provider_check.still_allowed(0, messages, datetime.now(UTC))

    async def look_up() -> None:
        await preferences.repository.rows(0, users)

    mget_us = await _us_each(mget)
    return [
        _figure("decision check, a trigger in a batch of 1,000", await _us_each(decide), "µs", 15, mget_us, "MGET"),
        _figure("provider check, a message in a batch of 1,000", await _us_each(send), "µs", 15, mget_us, "MGET"),
        _figure("look-up in the durable record, a user in a batch of 1,000", await _us_each(look_up, 50), "µs", 50),
    ]


async def _us_each(call: Callable[[], Awaitable[None]], rounds: int = _ROUNDS) -> float:
    """Median microseconds for one element of a batch."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        await call()
        took.append(time.perf_counter() - began)
    return median(took) / _BATCH * 1e6


async def _puts(preferences: PreferenceService) -> Figure:
    took = []
    for number in range(_PUTS):
        began = time.perf_counter()
        await preferences.writer.put(
            f"user-{number:08d}", 0, "marketing", "push", bool(number % 2), datetime.now(UTC), ChoiceSource.API
        )
        took.append(time.perf_counter() - began)
    return _figure("a choice by hand, until it is acknowledged, p99", percentiles_of(took).p99, "ms", 500)


async def _imports(preferences: PreferenceService, settings: Settings) -> list[Figure]:
    random = Random(1)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "updates.jsonl")
        for what, at in (("new users", "10:00"), ("known users", "11:00")):
            _write_updates(file, random, at)
            began = time.perf_counter()
            await import_file(file, preferences.writer, lambda user_id: bucket_of(user_id, settings.partitions))
            rate = _UPDATES / (time.perf_counter() - began)
            figures.append(_figure(f"import, {what}", rate, "updates/s", 20_000, at_least=True))
    return figures


def _write_updates(file: Path, random: Random, at: str) -> None:
    with file.open("w") as lines:
        for number in range(_UPDATES):
            update = {
                "user_id": f"import-{number:08d}",
                "category": random.choice(("payments", "marketing")),
                "channel": "push",
                "opted_in": random.random() < 0.5,
                "updated_at": f"2026-11-01T{at}:00Z",
            }
            lines.write(msgspec.json.encode(update).decode() + "\n")


def _memory() -> Figure:
    """Memory of one million users' rows in the cache of the preference check."""
    random = Random(1)
    tracemalloc.start()
    cache = RowCache(60, 4 * _ROWS)
    cache.expire(0)
    for number in range(_ROWS):
        choices: dict[int, dict[Channel, bool]] = {
            category: {"push": random.random() < 0.5} for category in random.sample(range(1, 6), 3)
        }
        cache.put(f"user-{number:08d}", encode_row(random.randrange(1, 200), choices))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return _figure("1M users's rows in memory", size / _MB, "MB", 150)


def _update(user_id: str) -> PreferenceUpdate:
    return PreferenceUpdate(user_id, "marketing", "push", False, datetime.now(UTC))


def _figure(
    name: str,
    value: float,
    unit: str,
    goal: float,
    reference_value: float | None = None,
    reference: str | None = None,
    *,
    at_least: bool = False,
) -> Figure:
    bound = Goal("at least" if at_least else "at most", goal)
    return figure(name, value, unit, bound, reference, reference_value)


def main() -> int:
    """Exit status 0 only if every figure holds."""
    options = argparse.ArgumentParser(prog="python -m devtools.benchmarks.preferences", description=__doc__)
    options.add_argument("--region", default="us")
    options.add_argument("--overlay", type=Path)
    chosen = options.parse_args()
    settings = load_settings(chosen.region, overlay=chosen.overlay)
    tune_gc()
    figures = asyncio.run(bench_preferences(settings, configured_categories()))
    found = report(figures)
    print(msgspec.json.encode(found).decode())
    return 0 if found["holds"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
