"""Reads partitions of one topic without a group, in batches.

In: partitions and the positions to read from. Out: `FetchedRange`es. Knows no table and no store.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import TopicPartition

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection
from notify_streams.transport.client_shutdown import stop_consumer
from notify_streams.transport.fetch_decoding import fetch_ranges
from notify_streams.transport.partition_buffer import FetchedRange
from notify_streams.transport.settings import TransportSettings

#: A partition's fetch: with 1 MiB, the buffers cost three times what 1M small rows do.
FETCH_BYTES = 128 * 1024
FETCH_MAX_WAIT_MS = 500
STOP_TIMEOUT_S = 5.0


class ChangelogReader:
    """A consumer that belongs to no group. One task at a time may call it."""

    def __init__(self, connection: KafkaConnection, topic: str, settings: TransportSettings) -> None:
        self.topic = topic
        self._consumer = kafka.consumer(
            connection,
            isolation_level=settings.isolation_level,
            request_timeout_s=settings.request_timeout_s,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        )

    async def start(self) -> None:
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect, in bounded time, whatever state the client is in."""
        await stop_consumer(self._consumer, STOP_TIMEOUT_S)

    async def partitions(self) -> frozenset[int]:
        """The topic's partitions.

        Raises:
            UnknownTopicOrPartitionError: it does not exist.
        """
        await self._consumer._client.force_metadata_update()
        await self._consumer._client._wait_on_metadata(self.topic)
        return frozenset(self._consumer.partitions_for_topic(self.topic) or ())

    async def offset_bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        """Beginning and end of partitions."""
        tps = [TopicPartition(self.topic, partition) for partition in partitions]
        beginnings = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {tp.partition: (beginnings[tp], ends[tp]) for tp in tps}

    def read_from(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these positions, and no others."""
        self._consumer.assign([TopicPartition(self.topic, partition) for partition in positions])
        for partition, position in positions.items():
            self._consumer.seek(TopicPartition(self.topic, partition), position)

    async def fetch(self, timeout_s: float) -> list[tuple[int, FetchedRange]]:
        """What is there, waiting for the first."""
        return [(tp.partition, fetched) for tp, fetched in await fetch_ranges(self._consumer, timeout_s)]
