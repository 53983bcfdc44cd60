"""A region's control log in Kafka: append a record, read all records.

Every call raises `RetryLater` when the region does not answer within `timeout_s`. A read has that time for each fetch, however long the log is.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from notify_streams import kafka
from notify_streams.errors import RetryLater
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, record_decoder
from notify_streams.regions.failover.protocol import ControlRecord
from notify_streams.rejections import reject
from notify_streams.topics import REGION_CONTROL
from notify_streams.transport.batch_producer import BatchProducer
from notify_streams.transport.client_shutdown import stop_consumer
from notify_streams.transport.fetch_decoding import fetch_ranges
from notify_streams.transport.send_errors import SendError
from notify_streams.transport.settings import TransportSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notify_streams.kafka import KafkaConnection

_PARTITION: Final = TopicPartition(REGION_CONTROL, 0)
_WAIT_S: Final = 0.5

_encode = msgspec.json.Encoder().encode
read_control_record = record_decoder(ControlRecord)


class ControlLog(Protocol):
    """The control log of one region."""

    region: str

    async def read(self, start: int = 0) -> tuple[list[ControlRecord], int]:
        """The records from position `start` to the log's end at the time of the call, and the position after them.

        Raises:
            RetryLater: the region does not answer.
        """
        ...

    async def wait(self, start: int, timeout_s: float) -> None:
        """Return when there is a record at `start` or later, or after `timeout_s`.

        Raises:
            RetryLater: the region does not answer.
        """
        ...

    async def append(self, record: ControlRecord) -> None:
        """Add a record; on return it is durable.

        Raises:
            RetryLater: the record may have been written or not.
        """
        ...


class KafkaControlLog:
    """A control log in one Kafka cluster. Connects at the first call, and again after a failure."""

    def __init__(self, region: str, connection: KafkaConnection, timeout_s: float = 3.0) -> None:
        self.region = region
        self._connection = connection
        self._timeout_s = timeout_s
        self._consumer: Any = None
        self._producer: BatchProducer | None = None
        self._reading = asyncio.Lock()
        self._connecting = asyncio.Lock()

    async def read(self, start: int = 0) -> tuple[list[ControlRecord], int]:
        """See `ControlLog`."""
        found: list[ControlRecord] = []
        position = start
        async with self._reading, self._bounded("read") as timeout:
            consumer = await self._connected()
            end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
            consumer.seek(_PARTITION, start)
            deadline = asyncio.get_running_loop().time() + self._timeout_s
            while position < end:
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError  # `asyncio.wait_for` of Python 3.11 can lose the cancellation (python/cpython#86296)
                # aiokafka's own decoding fails on a header name that is not UTF-8.
                for _, fetched in await fetch_ranges(consumer, _WAIT_S):
                    for record in fetched.records:
                        control = read_control_record(record.value, arrival_ms(record, int(time.time() * 1000)))
                        if isinstance(control, Rejection):
                            reject(REGION_CONTROL, record.offset, control)
                        else:
                            found.append(control)
                    position = fetched.end
                    deadline = asyncio.get_running_loop().time() + self._timeout_s
                    timeout.reschedule(deadline)
        return found, position

    async def wait(self, start: int, timeout_s: float) -> None:
        """See `ControlLog`."""
        async with self._reading, self._bounded("read", timeout_s + self._timeout_s):
            consumer = await self._connected()
            if await consumer.position(_PARTITION) != start:
                consumer.seek(_PARTITION, start)
            await fetch_ranges(consumer, timeout_s)

    async def append(self, record: ControlRecord) -> None:
        """See `ControlLog`."""
        async with self._bounded("append to"):
            producer = await self._started_producer()
            await producer.send_batch(REGION_CONTROL, 0, [(record.home.encode(), _encode(record), [])])

    async def close(self) -> None:
        """Disconnect, within the timeout; the next call connects again."""
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        if consumer is not None:
            await stop_consumer(consumer, self._timeout_s)
        if producer is not None:
            with suppress(KafkaError, TimeoutError, OSError):
                await asyncio.wait_for(producer.stop(), self._timeout_s)

    async def _started_producer(self) -> BatchProducer:
        async with self._connecting:
            if self._producer is None:
                settings = TransportSettings(
                    produce_timeout_s=self._timeout_s, request_timeout_s=self._timeout_s, compression=None
                )
                producer = BatchProducer(self._connection, settings, client_id="region-control")
                await producer.start()
                self._producer = producer
            return self._producer

    async def _connected(self) -> Any:
        if self._consumer is None:
            consumer = kafka.consumer(
                self._connection,
                isolation_level="read_committed",
                request_timeout_s=self._timeout_s,
                fetch_max_wait_ms=500,
            )
            try:
                await consumer.start()
            except BaseException:
                await stop_consumer(consumer, self._timeout_s)
                raise
            consumer.assign([_PARTITION])
            self._consumer = consumer
        return self._consumer

    @asynccontextmanager
    async def _bounded(self, operation: str, timeout_s: float | None = None) -> AsyncIterator[asyncio.Timeout]:
        """Bound the block in time, which it may extend; on a failure close the connections and raise `RetryLater`."""
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s) as timeout:
                yield timeout
        except (KafkaError, SendError, TimeoutError, OSError) as error:
            await self.close()
            kafka.note_missing_right(self._connection, error)
            raise RetryLater(f"region {self.region} does not answer: {operation} control log: {error!r}") from error
