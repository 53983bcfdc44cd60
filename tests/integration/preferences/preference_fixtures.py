"""Environments for tests, and what is said about them often."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from notify_streams.metrics import REGISTRY
from notify_streams.preferences.categories import load_categories
from notify_streams.preferences.decision_check import ReadTable
from notify_streams.preferences.lease_renewal import LeaseRenewal
from notify_streams.preferences.service import PreferenceService
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards

CATEGORIES = load_categories(Path(__file__).parents[3] / "config" / "categories.yaml")
BUCKET = 3


async def publish_nowhere(updates: Sequence[tuple[int, PreferenceUpdate]], rows: Mapping[str, bytes]) -> None:
    return


class CountingRenewal(LeaseRenewal):
    """Counts the renewals that succeeded."""

    renewals = 0

    async def renew(self) -> bool:
        renewed = await super().renew()
        self.renewals += renewed
        return renewed


class ProcessPreferences(PreferenceService):
    """The preferences of one process, with a decision check on a table."""

    def __init__(
        self,
        settings: Settings,
        shards: Shards,
        prefix: str,
        publish: Any = publish_nowhere,
        read_table: ReadTable = lambda bucket, user_ids: [None] * len(user_ids),
        table_lag_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__(settings, CATEGORIES, shards, publish, prefix)
        self.prefix = prefix
        self.shards = shards
        self.shards = shards
        self.decision = self.decision_check(read_table, table_lag_s)
        self.renewal = CountingRenewal(self.redis, self.deltas, self.repository, self.bound, prefix)
        self.lease_renewal = self.renewal


@asynccontextmanager
async def open_env(settings: Settings, prefix: str, **wiring: Any) -> AsyncIterator[ProcessPreferences]:
    shards = Shards(settings)
    await shards.start()
    env = ProcessPreferences(settings, shards, prefix, **wiring)
    try:
        await env.repository.ensure_indexes()
        yield env
    finally:
        await env.stop()
        for shard in range(len(shards)):
            await shards.client(shard).drop_database(settings.database)
        await shards.close()


def now() -> datetime:
    return datetime.now(UTC)


def an_update(**but: Any) -> PreferenceUpdate:
    fields: dict[str, Any] = {
        "user_id": "u-1",
        "category": "marketing",
        "channel": "push",
        "opted_in": False,
        "updated_at": now(),
    }
    return PreferenceUpdate(**(fields | but))


def a_message(**but: Any) -> ChannelMessage:
    fields: dict[str, Any] = {
        "delivery_id": "t-1-0.push",
        "channel": "push",
        "to": "token",
        "notification_id": "t-1-0",
        "trigger_id": "t-1",
        "user_id": "u-1",
        "category": "marketing",
        "decided_at": now(),
    }
    return ChannelMessage(**(fields | but))


async def put(
    env: ProcessPreferences, user_id: str = "u-1", opted_in: bool = False, category: str = "marketing"
) -> int:
    """Choose by hand and return the version."""
    return (await env.writer.put(user_id, BUCKET, category, "push", opted_in, now(), ChoiceSource.API)).version


async def reasons(env: ProcessPreferences, *messages: ChannelMessage) -> list[Any]:
    return (await env.provider_check.still_allowed(BUCKET, messages, now())).reasons


async def lapse(env: ProcessPreferences) -> None:
    """Wait until no lease that was given before now is left."""
    await asyncio.sleep(env.bound.lease_s)


async def until_trusted(env: ProcessPreferences) -> None:
    async with asyncio.timeout(10):
        while await env.deltas.read([]) is None:
            await asyncio.sleep(0.002)


def counted(metric: str) -> float:
    """The value of a counter of this process."""
    return REGISTRY.get_sample_value(metric) or 0.0


def rebuilds(caplog: pytest.LogCaptureFixture) -> int:
    """How often all recent deltas were copied to a Redis."""
    return sum(getattr(record, "action", None) == "deltas.rebuild" for record in caplog.records)
