"""Reads whole topics of a region, up to their end at the start of the reading."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from notify_streams import kafka
from notify_streams.admin.audit.snapshot import Extent
from notify_streams.errors import StoreUnavailable
from notify_streams.transport.client_shutdown import stop_consumer
from notify_streams.transport.fetch_decoding import fetch_ranges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from datetime import datetime
    from typing import Self

    from notify_streams.settings import Settings
    from notify_streams.transport import Record

_WAIT_S: Final = 0.5
#: Brokers that send nothing for so long are away. Longer than the restart of one.
_SILENT_S: Final = 60.0
_STOP_S: Final = 5.0


class TopicReader:
    """A consumer without a group: it changes no committed offset."""

    def __init__(self, settings: Settings, region: str | None = None, *, silent_s: float = _SILENT_S) -> None:
        """`region`: another one, instead of that of the settings. `silent_s`: a reading that gets nothing for so long fails."""
        self._settings = settings
        self._region = region or settings.region
        self._silent_s = silent_s
        self._consumer = kafka.consumer(
            settings.kafka_connection() if region is None else settings.remote_kafka_connections()[region],
            isolation_level="read_committed",
            request_timeout_s=settings.broker.request_timeout_s,
            # The first fetch of a reading waits for the last one of the reading before, which is at the end of its partitions.
            fetch_max_wait_ms=settings.broker.fetch_max_wait_ms,
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except (KafkaConnectionError, OSError) as error:
            await stop_consumer(self._consumer, _STOP_S)
            raise StoreUnavailable(f"Kafka of region {self._region} does not answer") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_consumer(self._consumer, _STOP_S)

    async def extents(
        self, topics: Iterable[str], partitions: Iterable[int] | None = None
    ) -> dict[tuple[str, int], Extent]:
        """First and next offset of these partitions of these topics; None: of every partition."""
        numbers = range(self._settings.partitions) if partitions is None else [*partitions]
        places = [TopicPartition(topic, number) for topic in topics for number in numbers]
        first = await self._consumer.beginning_offsets(places)
        end = await self._consumer.end_offsets(places)
        return {(place.topic, place.partition): Extent(first[place], end[place]) for place in places}

    async def ends(self, topic: str) -> dict[int, int]:
        """Next offset of each partition of a topic."""
        return {partition: extent.end for (_, partition), extent in (await self.extents([topic])).items()}

    async def offsets_at(self, topics: Iterable[str], at: datetime) -> dict[tuple[str, int], int]:
        """The offset of each partition's first record of this time or a later one; the next offset if there is none."""
        extents = await self.extents(topics)
        at_ms = int(at.timestamp() * 1000)
        found = await self._consumer.offsets_for_times(
            dict.fromkeys((TopicPartition(*place) for place in extents), at_ms)
        )
        return {
            (place.topic, place.partition): extents[place.topic, place.partition].end if one is None else one.offset
            for place, one in found.items()
        }

    async def kept_since(self, topics: Iterable[str]) -> dict[tuple[str, int], float]:
        """Of partitions that have lost their first records: when the first one was appended that is there, or else now (Unix seconds)."""
        now = time.time()
        deleted = [TopicPartition(*place) for place, extent in (await self.extents(topics)).items() if extent.first > 0]
        found = await self._consumer.offsets_for_times(dict.fromkeys(deleted, 0)) if deleted else {}
        return {
            (place.topic, place.partition): now if first is None else first.timestamp / 1000
            for place, first in found.items()
        }

    async def read(
        self,
        topics: Iterable[str],
        partitions: Iterable[int] | None = None,
        since: datetime | None = None,
        starts: Mapping[tuple[str, int], int] | None = None,
    ) -> AsyncIterator[tuple[TopicPartition, Record]]:
        """Every record with its place, in order within a partition. `partitions`: see `extents`. One reading at a time.

        `since`: leave out what is before the first record of this time or a later one. `starts`: leave out what is before these offsets.

        Raises:
            StoreUnavailable: no broker has sent anything for `silent_s`, though records are left.
        """
        starts = starts or {}
        extents = {
            TopicPartition(name, partition): extent
            for (name, partition), extent in (await self.extents(topics, partitions)).items()
            if extent.end > max(extent.first, starts.get((name, partition), 0))
        }
        firsts = {
            place: max(extent.first, starts.get((place.topic, place.partition), 0)) for place, extent in extents.items()
        }
        if since is not None and extents:
            at_ms = int(since.timestamp() * 1000)
            found = await self._consumer.offsets_for_times(dict.fromkeys(extents, at_ms))
            firsts = {place: one.offset for place, one in found.items() if one is not None}
            extents = {place: extent for place, extent in extents.items() if place in firsts}
        self._consumer.assign(list(extents))
        for place in extents:
            self._consumer.seek(place, firsts[place])
        left = set(extents)
        # Without the time that the caller takes.
        silent_s = 0.0
        while left:
            asked_at = time.monotonic()
            # As workers read: aiokafka's own decoding fails on a header name that is not UTF-8.
            ranges = await fetch_ranges(self._consumer, _WAIT_S)
            silent_s = 0.0 if ranges else silent_s + time.monotonic() - asked_at
            if silent_s > self._silent_s:
                # The client does not give the reason, and tries again without a limit.
                raise StoreUnavailable(f"Kafka of region {self._region} has sent nothing for {self._silent_s:g} s")
            for place, fetched in ranges:
                for record in fetched.records:
                    yield place, record
                if fetched.end >= extents[place].end:
                    left.discard(place)
            if not ranges:
                # Retention may have deleted what was left of a partition.
                left -= {place for place in left if await self._consumer.position(place) >= extents[place].end}
