"""Writes whole batches to known partitions: idempotent, acks=all, one future a batch.

In: records of one partition. Out: their offsets, or an error that says which were not written. Works without Faust
too: give it any cluster's bootstrap servers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection
from notify_streams.transport.record_batch import Record
from notify_streams.transport.send_errors import BatchNotSent, RecordTooLarge
from notify_streams.transport.settings import TransportSettings

log = logging.getLogger(__name__)

#: Key, value, headers.
ProducerRecord = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]

PARTS = attrgetter("key", "value", "headers")
NO_HEADERS: list[tuple[str, bytes]] = []
#: To compress so few records takes longer than to send them.
FEW = 4
UNCOMPRESSED = 0
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass(frozen=True, slots=True)
class SentBatch:
    """Where a batch was written. Offsets are consecutive unless another producer wrote in between."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    count: int


class _Sending:
    """The chunk of a batch that is on its way, and the offsets of those that arrived."""

    def __init__(self) -> None:
        self.first = self.last = -1
        self.count = self.size = 0
        self._future: Any = None

    def begin(self, builder: BatchBuilder, future: Any) -> None:
        self.count, self.size, self._future = builder.record_count(), builder.size(), future

    async def finish(self, at: int) -> int:
        """Wait for the chunk; the index of the first record after it."""
        if self._future is None:
            return at
        future, self._future = self._future, None
        base = (await future).offset
        self.last = base + self.count - 1
        self.first = base if self.first < 0 else self.first
        return at + self.count


class BatchProducer:
    """One idempotent producer. Start it before the first batch, stop it after the last: `stop` flushes."""

    def __init__(
        self,
        connection: KafkaConnection,
        settings: TransportSettings | None = None,
        *,
        client_id: str = "batch-producer",
    ) -> None:
        self._settings = settings or TransportSettings()
        self._connection = connection
        self._client_id = client_id
        self._producer: Any = None
        self._started = False
        self._connecting = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()
        #: Topics that take less than the setting says, learnt from the broker's refusal.
        self._limits: dict[str, int] = {}

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: no broker answered.
        """
        self._started = True
        await self._connected()

    async def stop(self) -> None:
        """Wait for what is on its way, then disconnect."""
        self._started = False
        producer, self._producer = self._producer, None
        if producer is not None:
            await self._retire(producer)
        await asyncio.gather(*self._retired, return_exceptions=True)

    async def fetch_metadata(self, topic: str) -> None:
        """Ask where the topic's partitions are, so that its first batch need not.

        Raises:
            KafkaError: there is no such topic, or no answer.
        """
        await (await self._connected()).partitions_for(topic)

    async def send_batch(
        self,
        topic: str,
        partition: int,
        records: Sequence[ProducerRecord] | Sequence[Record],
        *,
        timestamp_ms: int | None = None,
    ) -> SentBatch | None:
        """Write the records, in order, and wait until all in-sync replicas have them.

        Records that were received can be given as they are. Batches over the size limit are split.
        Two calls for one partition at a time may interleave; a value of
        None is a tombstone.

        Returns:
            None if there was nothing to send.

        Raises:
            RecordTooLarge: nothing was sent.
            BatchNotSent: some were not acknowledged.
        """
        if not records:
            return None
        now_ms = timestamp_ms if timestamp_ms is not None else int(time.time() * 1000)
        first = last = -1
        at = 0
        while at < len(records):
            limit = self._limits.get(topic, self._settings.max_produce_bytes)
            producer, sending = None, _Sending()
            try:
                async with asyncio.timeout(self._settings.produce_timeout_s) as patience:
                    producer = await self._connected()
                    for builder in self._chunks(producer, topic, partition, records, at, now_ms, limit):
                        # The next chunk was built while the one before was on its way.
                        at = await sending.finish(at)
                        patience.reschedule(asyncio.get_running_loop().time() + self._settings.produce_timeout_s)
                        sending.begin(builder, await producer.send_batch(builder, topic, partition=partition))
                    at = await sending.finish(at)
            except TOO_LARGE as exc:
                self._replace(producer)
                if sending.count == 1:
                    raise RecordTooLarge(topic, partition, at, sending.size, limit) from exc
                self._limits[topic] = max(min(limit, sending.size) // 2, 1)
                log.warning("%s refuses batches of %d bytes, splitting at %d", topic, limit, self._limits[topic])
            except (KafkaError, TimeoutError, OSError) as exc:
                await self._abandon(producer)
                raise BatchNotSent(topic, partition, range(at, len(records)), exc) from exc
            finally:
                first = sending.first if first < 0 else first
                last = max(last, sending.last)
        return SentBatch(topic, partition, first, last, len(records))

    def _chunks(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partition: int,
        records: Sequence[ProducerRecord] | Sequence[Record],
        at: int,
        now_ms: int,
        limit: int,
    ) -> Iterator[BatchBuilder]:
        few = len(records) - at < FEW
        builder = self._builder(producer, limit, few)
        append, count = builder._builder.append, 0
        largest = self._settings.max_record_bytes or self._settings.max_produce_bytes
        rows: Any = records if isinstance(records[0], tuple) else map(PARTS, records)
        for index, (key, value, headers) in enumerate(islice(rows, at, None), at):
            if type(headers) is not list:  # aiokafka's C code takes nothing else
                headers = list(headers) if headers else NO_HEADERS
            added = append(count, now_ms, key, value, headers)
            if added is None:
                builder._relative_offset = count
                yield builder
                builder = self._builder(producer, limit, few)
                append, count = builder._builder.append, 0
                added = append(0, now_ms, key, value, headers)
            if count == 0 and added.size > largest:
                raise RecordTooLarge(topic, partition, index, added.size, largest)
            count += 1
        builder._relative_offset = count
        yield builder

    def _builder(self, producer: AIOKafkaProducer, limit: int, few: bool) -> BatchBuilder:
        accumulator = producer._message_accumulator
        return BatchBuilder(limit, UNCOMPRESSED if few else accumulator._compression_type)

    async def _connected(self) -> Any:
        async with self._connecting:
            if not self._started:
                raise RuntimeError("the batch producer is not started")
            if self._producer is None:
                self._producer = await self._connect()
            return self._producer

    async def _connect(self) -> Any:
        settings = self._settings
        producer = kafka.producer(
            self._connection,
            request_timeout_s=settings.produce_timeout_s,
            client_id=self._client_id,
            compression_type=settings.compression,
            max_batch_size=settings.max_produce_bytes,
            retry_backoff_ms=50,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _replace(self, failed: Any) -> None:
        """A refused batch leaves a gap in the sequence numbers, after which Kafka refuses this producer for ever."""
        if self._producer is failed:
            self._producer = None
            retiring = asyncio.create_task(self._retire(failed))
            self._retired.add(retiring)
            retiring.add_done_callback(self._retired.discard)

    async def _retire(self, producer: Any) -> None:
        try:
            await asyncio.wait_for(producer.stop(), self._settings.produce_timeout_s)
        except (KafkaError, TimeoutError, OSError):
            await self._abandon(producer)

    async def _abandon(self, producer: Any) -> None:
        """Make sure that nothing of this producer is written later, behind the back of whoever was told it failed.

        aiokafka tries an idempotent batch again for ever.
        """
        if producer is None:
            return
        if self._producer is producer:
            self._producer = None
        producer._closed = True
        sending = producer._sender.sender_task
        if sending is not None:
            sending.cancel()
        await producer.client.close()
        if sending is not None:
            await asyncio.wait([sending], timeout=1.0)
        producer._message_accumulator.fail_all(KafkaTimeoutError("abandoned"))
