"""Reads whole topics of a region, from their first offset to the end they had when the reading began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from notify_streams.errors import StoreUnavailable
from notify_streams.ops.audit.facts import Extent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType
    from typing import Self

    from aiokafka import ConsumerRecord

    from notify_streams.settings import Settings


class Topics:
    """A reader without a group: it moves nobody's position."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            request_timeout_ms=int(settings.broker.request_timeout_s * 1000),
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except (KafkaConnectionError, OSError) as error:
            await self._consumer.stop()
            raise StoreUnavailable(f"Kafka of region {self._settings.region} does not answer") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def extents(self, topics: Iterable[str]) -> dict[tuple[str, int], Extent]:
        """First and next offset of every partition of these topics."""
        places = self._places(topics)
        first = await self._consumer.beginning_offsets(places)
        end = await self._consumer.end_offsets(places)
        return {(place.topic, place.partition): Extent(first[place], end[place]) for place in places}

    async def read(self, topics: Iterable[str]) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
        """Every record of these topics, each partition's in order. Call it once: one assignment, one pass."""
        extents = {
            TopicPartition(name, partition): extent
            for (name, partition), extent in (await self.extents(topics)).items()
            if extent.end > extent.first
        }
        self._consumer.assign(list(extents))
        for place, extent in extents.items():
            self._consumer.seek(place, extent.first)
        left = set(extents)
        while left:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    yield record
            for place in list(left):
                if await self._consumer.position(place) >= extents[place].end:
                    left.discard(place)

    def _places(self, topics: Iterable[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic in topics for partition in range(self._settings.partitions)]
