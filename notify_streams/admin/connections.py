"""A region's shards, Redis, producer and preferences for one command."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notify_streams.preferences.publisher import publisher_for
from notify_streams.preferences.service import PreferenceService
from notify_streams.stores.mongo import Shards
from notify_streams.transport import BatchProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notify_streams.preferences.categories import Categories
    from notify_streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Connections:
    """Open connections of one region."""

    shards: Shards
    preferences: PreferenceService


@asynccontextmanager
async def connected(settings: Settings, categories: Categories) -> AsyncIterator[Connections]:
    """Connect, and disconnect at the end.

    Raises:
        KafkaError: Kafka does not answer.
    """
    shards = Shards(settings)
    producer = BatchProducer(settings.kafka_connection(), client_id="notify-streams-command")
    preferences = PreferenceService(settings, categories, shards, publisher_for(producer))
    await shards.start()
    try:
        await shards.refresh_directory()
        await producer.start()
        yield Connections(shards, preferences)
    finally:
        await producer.stop()
        await preferences.stop()
        await shards.close()
