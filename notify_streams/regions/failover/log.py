"""One region's log of control records, in that region's Kafka. In: a record to append; out: the records there are.

Every call is bounded by `timeout_s` and raises `RetryLater` when the region does not answer: a region that hangs is one that is away.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from notify_streams import kafka, topics
from notify_streams.errors import RetryLater
from notify_streams.kafka import KafkaConnection
from notify_streams.regions.failover.protocol import ControlRecord
from notify_streams.transport.batch_producer import BatchProducer
from notify_streams.transport.client_shutdown import stop_consumer
from notify_streams.transport.send_errors import SendError
from notify_streams.transport.settings import TransportSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOPIC: Final = topics.REGION_CONTROL
PARTITIONS: Final = 1
CONFIG: Final = topics.REGION_CONTROL_CONFIG
_PARTITION: Final = TopicPartition(TOPIC, 0)

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ControlRecord).decode


class ControlLog(Protocol):
    """The log of one region."""

    region: str

    async def read(self, start: int = 0) -> tuple[list[ControlRecord], int]:
        """The records from position `start` to the end that the log has at the call, and the position after them.

        Raises:
            RetryLater: the region does not answer.
        """
        ...

    async def append(self, record: ControlRecord) -> None:
        """Add a record; on return the region has it for good.

        Raises:
            RetryLater: it may be there or not.
        """
        ...


class KafkaControlLog:
    """The log in one Kafka cluster; it connects at the first call and again after a failure."""

    def __init__(self, region: str, connection: KafkaConnection, timeout_s: float = 3.0) -> None:
        self.region = region
        self._connection = connection
        self._timeout_s = timeout_s
        self._consumer: Any = None
        self._producer: BatchProducer | None = None
        self._reading = asyncio.Lock()

    async def read(self, start: int = 0) -> tuple[list[ControlRecord], int]:
        """See `ControlLog`."""
        async with self._reading, _Answering(self, "reading"):
            consumer = await self._connected()
            end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
            consumer.seek(_PARTITION, start)
            found: list[ControlRecord] = []
            position = start
            until = asyncio.get_running_loop().time() + self._timeout_s
            while position < end:
                if asyncio.get_running_loop().time() > until:
                    raise TimeoutError  # `asyncio.wait_for` of Python 3.11 can lose the cancellation (python/cpython#86296)
                for record in (await consumer.getmany(_PARTITION, timeout_ms=500)).get(_PARTITION, ()):
                    found += _records(record.value)
                position = await consumer.position(_PARTITION)
            return found, position
        raise AssertionError

    async def follow(self, start: int) -> AsyncIterator[tuple[list[ControlRecord], int]]:
        """New records as they come, with the position after them. Ends with `RetryLater` when the region stops answering."""
        position = start
        while True:
            async with self._reading, _Answering(self, "following"):
                consumer = await self._connected()
                consumer.seek(_PARTITION, position)
                got = (await consumer.getmany(_PARTITION, timeout_ms=200)).get(_PARTITION, ())
                position = await consumer.position(_PARTITION)
            if got:
                yield [one for record in got for one in _records(record.value)], position

    async def append(self, record: ControlRecord) -> None:
        """See `ControlLog`."""
        async with _Answering(self, "writing"):
            if self._producer is None:
                settings = TransportSettings(
                    produce_timeout_s=self._timeout_s, request_timeout_s=self._timeout_s, compression=None
                )
                producer = BatchProducer(self._connection, settings, client_id="region-control")
                await producer.start()
                self._producer = producer
            await self._producer.send_batch(TOPIC, 0, [(record.seat.encode(), _encode(record), [])])

    async def close(self) -> None:
        """Disconnect, within the timeout; the next call connects again."""
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        if consumer is not None:
            await stop_consumer(consumer, self._timeout_s)
        if producer is not None:
            with suppress(KafkaError, TimeoutError, OSError):
                await asyncio.wait_for(producer.stop(), self._timeout_s)

    async def _connected(self) -> Any:
        if self._consumer is None:
            consumer = kafka.consumer(
                self._connection,
                isolation_level="read_committed",
                request_timeout_s=self._timeout_s,
                fetch_max_wait_ms=200,
            )
            try:
                await consumer.start()
            except BaseException:
                await stop_consumer(consumer, self._timeout_s)
                raise
            consumer.assign([_PARTITION])
            self._consumer = consumer
        return self._consumer


class _Answering:
    """Bounds a block in time; what goes wrong in it closes the log's connections and becomes `RetryLater`."""

    def __init__(self, owner: KafkaControlLog, doing: str) -> None:
        self._owner = owner
        self._doing = doing
        self._timeout = asyncio.timeout(owner._timeout_s)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            error = timeout
        if error is None:
            return False
        if isinstance(error, KafkaError | SendError | TimeoutError | OSError):
            await self._owner.close()
            raise RetryLater(
                f"region {self._owner.region} does not answer: {self._doing} its control log: {error!r}"
            ) from error
        return False


def _records(value: bytes | None) -> list[ControlRecord]:
    if value is None:
        return []
    try:
        return [_decode(value)]
    except msgspec.MsgspecError as error:
        log.error("a control record that is none was passed over", extra={"action": "control", "error": str(error)})
        return []
