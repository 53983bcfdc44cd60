"""Reads offsets and records of Kafka for the views; keeps its clients.

To create a consumer costs the broker and this process tens of milliseconds of CPU, which everything beside them waits for.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError

from notify_streams import kafka
from notify_streams.errors import StoreUnavailable
from notify_streams.records.batch import record_size
from notify_streams.transport.client_shutdown import stop_consumer
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.structs import ConsumerRecord

    from notify_streams.app import NotifyApp
    from notify_streams.kafka import KafkaConnection

_TIMEOUT_S: Final = 3.0
_MAX_BYTES: Final = 16 * 1024 * 1024
_FETCH_BYTES: Final = 1024 * 1024
_POLL_MS: Final = 200
_REQUEST_TIMEOUT_S: Final = 2.5
_STOP_S: Final = 1.0


class KafkaReader:
    """Joins no group and changes no committed offset. Its clients start at the first call, and anew after one that failed.

    Calls wait for each other. Each raises `StoreUnavailable` if Kafka does not answer within some seconds.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._using = asyncio.Lock()
        self._consumer: AIOKafkaConsumer[bytes, bytes] | None = None
        self._admin: AIOKafkaAdminClient | None = None

    async def extents(
        self, partitions: Collection[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """The first and the next offset of each partition."""
        async with self._used(_TIMEOUT_S):
            consumer = await self._started_consumer()
            return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset of each partition."""
        async with self._used(_TIMEOUT_S):
            found: dict[TopicPartition, int] = await (await self._started_consumer()).end_offsets(partitions)
            return found

    async def committed(self, group: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets that `group` has committed; nothing for partitions without one."""
        async with self._used(_TIMEOUT_S):
            admin = await self._started_admin()
            found = await admin.list_consumer_group_offsets(group, partitions=list(partitions))
        return {partition: known.offset for partition, known in found.items() if known.offset >= 0}

    async def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> tuple[list[ConsumerRecord[bytes, bytes]], bool]:
        """The records of each range of offsets, the end not included.

        False if a limit ended the reading: 16 MB, or some seconds.
        """
        async with self._used(2 * _TIMEOUT_S):  # to start the consumer, and to read
            return await self._read(await self._started_consumer(), ranges)

    async def aclose(self) -> None:
        """Close the clients."""
        consumer, self._consumer = self._consumer, None
        admin, self._admin = self._admin, None
        if consumer is not None:
            await stop_consumer(consumer, _STOP_S)
        if admin is not None:
            await admin.close()

    async def _started_consumer(self) -> AIOKafkaConsumer[bytes, bytes]:
        if self._consumer is None:
            consumer = self._consumer = kafka.consumer(
                self._connection,
                request_timeout_s=_REQUEST_TIMEOUT_S,
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_bytes=_FETCH_BYTES,
            )
            await consumer.start()
        return self._consumer

    async def _started_admin(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            admin = self._admin = kafka.admin(self._connection, request_timeout_s=_REQUEST_TIMEOUT_S)
            await admin.start()
        return self._admin

    @asynccontextmanager
    async def _used(self, seconds: float) -> AsyncIterator[None]:
        """One call at a time. One that fails, or is cancelled, leaves no client: it may be in any state."""
        async with self._using:
            try:
                async with asyncio.timeout(seconds):
                    yield
            except (KafkaError, OSError, TimeoutError) as error:
                await self.aclose()
                raise StoreUnavailable(f"Kafka does not answer: {type(error).__name__}") from error
            except BaseException:
                await self.aclose()
                raise

    async def _read(
        self, consumer: AIOKafkaConsumer[bytes, bytes], ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> tuple[list[ConsumerRecord[bytes, bytes]], bool]:
        records: list[Any] = []
        size = 0
        consumer.assign(list(ranges))
        waiting = {}
        for partition, (start, end) in ranges.items():
            consumer.seek(partition, start)
            waiting[partition] = end
        deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
        try:
            while waiting and size < _MAX_BYTES and asyncio.get_running_loop().time() < deadline:
                found = await consumer.getmany(*waiting, timeout_ms=_POLL_MS)
                for partition, part in found.items():
                    records += (record for record in part if record.offset < ranges[partition][1])
                    size += sum(map(record_size, part))
                for partition, end in list(waiting.items()):
                    if await consumer.position(partition) >= end:
                        del waiting[partition]
        finally:
            consumer.pause(*ranges)  # it would fetch what comes later
        return records, not waiting


def kafka_reader(worker: NotifyApp) -> KafkaReader:
    """The one `KafkaReader` of a worker, which closes it at its end."""
    return one_for(worker, _new_reader)


def _new_reader(worker: NotifyApp) -> KafkaReader:
    reader = KafkaReader(worker.settings.kafka_connection())
    worker.add_stop(reader.aclose)
    return reader
