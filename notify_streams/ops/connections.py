"""What a command needs of a region for a moment: shards, Redis, a producer and the preference parts, opened and closed together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notify_streams.preferences.assembly import Assembly, assemble
from notify_streams.preferences.publishing import publisher_through
from notify_streams.stores.redis import connect
from notify_streams.stores.shards import Shards
from notify_streams.transport import BatchProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notify_streams.preferences.policy import Categories
    from notify_streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Connections:
    """Open connections of one region."""

    shards: Shards
    preferences: Assembly


@asynccontextmanager
async def connected(settings: Settings, categories: Categories) -> AsyncIterator[Connections]:
    """Connect, and hang up at the end.

    Raises:
        KafkaError: Kafka does not answer.
    """
    shards = Shards(settings)
    redis = connect(settings)
    producer = BatchProducer(settings.kafka.split(","), client_id="notify-streams-command")
    await shards.start()
    try:
        await shards.learn()
        await producer.start()
        yield Connections(shards, assemble(settings, shards, redis, categories, publisher_through(producer)))
    finally:
        await producer.stop()
        await redis.aclose()
        await shards.close()
