"""Rooms for tests, and what is said about them often."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from notify_streams.preferences.assembly import PreferenceComponents, build_components
from notify_streams.preferences.categories import load_categories
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards
from notify_streams.stores.redis import connect

CATEGORIES = load_categories(Path(__file__).parents[3] / "config" / "categories.yaml")
BUCKET = 3


async def publish_nowhere(updates: Sequence[tuple[int, PreferenceUpdate]]) -> None:
    return


@asynccontextmanager
async def open_room(settings: Settings, prefix: str, **wiring: Any) -> AsyncIterator[PreferenceComponents]:
    shards, redis = Shards(settings), connect(settings)
    await shards.start()
    room = build_components(
        settings, shards, redis, CATEGORIES, wiring.pop("publish", publish_nowhere), prefix=prefix, **wiring
    )
    try:
        await room.durable.ensure_indexes()
        yield room
    finally:
        for shard in range(len(shards)):
            await shards.client(shard).drop_database(settings.database)
        await shards.close()
        await redis.aclose()


def now() -> datetime:
    return datetime.now(UTC)


def an_update(**but: Any) -> PreferenceUpdate:
    fields = {"user_id": "u-1", "category": "marketing", "channel": "push", "opted_in": False, "updated_at": now()}
    return PreferenceUpdate(**(fields | but))


def a_message(**but: Any) -> ChannelMessage:
    fields = {
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
    room: PreferenceComponents, user_id: str = "u-1", opted_in: bool = False, category: str = "marketing"
) -> int:
    """Choose by hand and return the version."""
    return (await room.writer.put(user_id, BUCKET, category, "push", opted_in, now())).version


async def reasons(room: PreferenceComponents, *messages: ChannelMessage) -> list[Any]:
    return (await room.provider.still_allowed(BUCKET, messages, now())).reasons


async def lapse(room: PreferenceComponents) -> None:
    """Wait until no lease that was given before now is left."""
    await asyncio.sleep(room.bound.lease_s)


async def until_trusted(room: PreferenceComponents) -> None:
    async with asyncio.timeout(10):
        while await room.deltas.read([]) is None:
            await asyncio.sleep(0.002)
