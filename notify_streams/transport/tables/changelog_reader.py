"""Reads partitions of a topic in batches, without a consumer group."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import TopicPartition

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection
from notify_streams.transport.client_shutdown import stop_consumer
from notify_streams.transport.fetch_decoding import fetch_ranges
from notify_streams.transport.partition_buffer import FetchedRange
from notify_streams.transport.settings import TransportSettings

#: For one partition. With 1 MiB, the buffers take three times the memory of a million small rows.
_FETCH_BYTES = 128 * 1024
_FETCH_MAX_WAIT_MS = 500
_STOP_TIMEOUT_S = 5.0


class ChangelogReader:
    """A consumer without a group. Only one task at a time may call it."""

    def __init__(self, connection: KafkaConnection, topic: str, settings: TransportSettings) -> None:
        self.topic = topic
        self.connection = connection
        self._consumer = kafka.consumer(
            connection,
            isolation_level=settings.isolation_level,
            request_timeout_s=settings.request_timeout_s,
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
        )

    async def start(self) -> None:
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect, in bounded time."""
        await stop_consumer(self._consumer, _STOP_TIMEOUT_S)

    async def partitions(self) -> frozenset[int]:
        """The topic's partitions.

        Raises:
            UnknownTopicOrPartitionError: it does not exist.
        """
        await self._consumer._client.force_metadata_update()
        await self._consumer._client._wait_on_metadata(self.topic)
        return frozenset(self._consumer.partitions_for_topic(self.topic) or ())

    async def offset_bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        """Beginning and end offset of each partition."""
        tps = [TopicPartition(self.topic, partition) for partition in partitions]
        beginnings = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {tp.partition: (beginnings[tp], ends[tp]) for tp in tps}

    def read_from(self, positions: Mapping[int, int]) -> None:
        """Read these partitions, and no others, from these positions."""
        self._consumer.assign([TopicPartition(self.topic, partition) for partition in positions])
        for partition, position in positions.items():
            self._consumer.seek(TopicPartition(self.topic, partition), position)

    async def fetch(self, timeout_s: float) -> list[tuple[int, FetchedRange]]:
        """What was fetched, by partition; waits up to `timeout_s` for the first of it."""
        return [(tp.partition, fetched) for tp, fetched in await fetch_ranges(self._consumer, timeout_s)]
