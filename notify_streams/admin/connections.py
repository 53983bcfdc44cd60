"""A region's shards, Redis, producer and preferences for one command."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from notify_streams.admin.topics import require_topics
from notify_streams.preferences.publisher import publisher_for
from notify_streams.preferences.service import PreferenceService
from notify_streams.stores.mongo import Shards
from notify_streams.transport import BatchProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notify_streams.preferences.categories import Categories
    from notify_streams.settings import Settings

#: A person waits for the answer.
_CONNECT_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Connections:
    """Open connections of one region."""

    shards: Shards
    preferences: PreferenceService
    producer: BatchProducer


@asynccontextmanager
async def connected(
    settings: Settings, categories: Categories, *, publishes: bool = True
) -> AsyncIterator[Connections]:
    """Connect, and disconnect at the end.

    Args:
        publishes: False: nothing is written, so Kafka is not needed.

    Raises:
        StoreUnavailable: Kafka does not answer.
        Refused: topics are missing.
    """
    if publishes:
        await require_topics(settings)
    shards = Shards(settings, serverSelectionTimeoutMS=_CONNECT_MS)
    producer = BatchProducer(settings.kafka_connection(), client_id="notify-streams-command")
    preferences = PreferenceService(settings, categories, shards, publisher_for(producer, settings))
    await shards.start()
    try:
        await shards.refresh_directory()
        if publishes:
            await producer.start()
        yield Connections(shards, preferences, producer)
    finally:
        await producer.stop()
        await preferences.stop()
        await shards.close()
