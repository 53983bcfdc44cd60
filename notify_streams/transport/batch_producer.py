"""Produces whole batches to known partitions: idempotent, acks=all.

Works without Faust too, with any cluster's bootstrap servers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

from aiokafka.client import ConnectionGroup
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import TopicPartition

from notify_streams import kafka, tasks
from notify_streams.kafka import KafkaConnection
from notify_streams.transport.client_shutdown import abort_connections
from notify_streams.transport.record_batch import Record
from notify_streams.transport.send_errors import BatchNotSent, RecordTooLarge
from notify_streams.transport.send_withdrawal import SendWithdrawal
from notify_streams.transport.settings import TransportSettings

log = logging.getLogger(__name__)

#: A record to produce: key, value, headers.
ProducerRecord = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]

#: Compressing fewer records takes longer than sending them.
MIN_COMPRESSED_RECORDS = 4
_UNCOMPRESSED = 0
#: For its connections, and for its task, to end.
_ABANDON_TIMEOUT_S = 1.0
#: Between two attempts to connect the next producer.
_CONNECT_AGAIN_S = 0.2
#: How often it is looked whether a partition has a leader.
_LEADER_LOOK_S = 0.1
_NO_LEADER = -1
_FIELDS = attrgetter("key", "value", "headers")
_NO_HEADERS: list[tuple[str, bytes]] = []
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass(frozen=True, slots=True)
class SentBatch:
    """Where a batch was written. Offsets are consecutive unless another producer wrote in between."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    count: int


def build_batches(
    topic: str,
    partition: int,
    records: Sequence[ProducerRecord] | Sequence[Record],
    at: int = 0,
    *,
    now_ms: int,
    max_batch_bytes: int,
    max_record_bytes: int,
    compression: int,
) -> Iterator[BatchBuilder]:
    """Kafka batches with the records from index `at` on. A record over `max_batch_bytes` is alone in its batch.

    Args:
        compression: Kafka's number of the codec; small batches are not compressed.

    Raises:
        RecordTooLarge: a record is over `max_record_bytes`.
    """
    if len(records) - at < MIN_COMPRESSED_RECORDS:
        compression = _UNCOMPRESSED
    builder = BatchBuilder(max_batch_bytes, compression)
    append, count = builder._builder.append, 0
    rows: Any = records if isinstance(records[0], tuple) else map(_FIELDS, records)
    for index, (key, value, headers) in enumerate(islice(rows, at, None), at):
        if type(headers) is not list:  # aiokafka's C code accepts nothing else
            headers = list(headers) if headers else _NO_HEADERS
        added = append(count, now_ms, key, value, headers)
        if added is None:
            builder._relative_offset = count
            yield builder
            builder = BatchBuilder(max_batch_bytes, compression)
            append, count = builder._builder.append, 0
            added = append(0, now_ms, key, value, headers)
        if count == 0 and added.size > max_record_bytes:
            raise RecordTooLarge(topic, partition, index, added.size, max_record_bytes)
        count += 1
    builder._relative_offset = count
    yield builder


class _BatchSender:
    """The batch in flight, and the offsets of those before it."""

    def __init__(self) -> None:
        self.first = self.last = -1
        self.count = self.size = 0
        self._future: Any = None
        #: Whether a batch was given to the producer that has not been acknowledged.
        self.in_flight = False

    def begin(self, builder: BatchBuilder, future: Any) -> None:
        self.count, self.size, self._future = builder.record_count(), builder.size(), future
        self.in_flight = True

    async def finish(self, at: int) -> int:
        """Wait for the batch that begins at index `at`; the index of the first record after it."""
        if self._future is None:
            return at
        future, self._future = self._future, None
        base = (await future).offset
        self.in_flight = False
        self.last = base + self.count - 1
        self.first = base if self.first < 0 else self.first
        return at + self.count


async def _until_led(producer: Any, tp: TopicPartition) -> None:
    """Return when the partition has a leader.

    While a batch waits for one in aiokafka, that asks for metadata without a pause.
    """
    cluster = producer.client.cluster
    await producer.partitions_for(tp.topic)
    while cluster.leader_for_partition(tp) in (None, _NO_LEADER):
        await asyncio.sleep(_LEADER_LOOK_S)
        await producer.client.force_metadata_update()


def most_batches(records: Iterable[ProducerRecord], max_batch_bytes: int) -> int:
    """More Kafka batches of `max_batch_bytes` than these records of one partition make, for a limit of the time that sending takes."""
    return 2 * (sum(len(value or b"") for _, value, _ in records) // max_batch_bytes + 1)


class BatchProducer:
    """One idempotent producer. `start` it before the first batch; `stop` waits for the last one.

    Partitions are independent: one that takes nothing, because it has no leader or its leader hangs, delays and fails its own batches only.
    """

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
        #: Connects the next producer while the present one serves the partitions without a gap.
        self._replacing: asyncio.Task[None] | None = None
        #: Partitions with a gap in the sequence numbers of the present producer: Kafka refuses what follows.
        self._gaps: set[TopicPartition] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._withdrawals: WeakKeyDictionary[Any, SendWithdrawal] = WeakKeyDictionary()
        #: Batch sizes of topics that refused a batch within `max_produce_bytes`.
        self._limits: dict[str, int] = {}

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: no broker answered.
        """
        self._started = True
        await self._connected()

    async def stop(self) -> None:
        """Wait for what is in flight, then disconnect."""
        self._started = False
        await tasks.stop([self._replacing])
        producer, self._producer = self._producer, None
        if producer is not None:
            await self._retire(producer)
        await asyncio.gather(*self._retiring, return_exceptions=True)

    async def partition_count(self, topic: str) -> int:
        """How many partitions the topic has, as known now. The first call fetches their leaders, so it is good ahead of the first batch.

        Raises:
            KafkaError: the topic does not exist, or no broker answered.
        """
        return len(await (await self._connected()).partitions_for(topic))

    async def send_batch(
        self,
        topic: str,
        partition: int,
        records: Sequence[ProducerRecord] | Sequence[Record],
        *,
        timestamp_ms: int | None = None,
    ) -> SentBatch | None:
        """Write the records, in order, and wait until all in-sync replicas have them.

        Splits batches over the size limit. Records of two concurrent calls for one partition may interleave. A value of None is a
        tombstone.

        Returns:
            None if there was nothing to send.

        Raises:
            RecordTooLarge: the records from `sent` on were not written.
            BatchNotSent: some were not acknowledged.
        """
        if not records:
            return None
        settings = self._settings
        now_ms = timestamp_ms if timestamp_ms is not None else int(time.time() * 1000)
        first = last = -1
        at = 0
        while at < len(records):
            limit = self._limits.get(topic, settings.max_produce_bytes)
            producer, sender, tp = None, _BatchSender(), TopicPartition(topic, partition)
            try:
                async with asyncio.timeout(settings.produce_timeout_s) as timeout:
                    producer = await self._connected(tp)
                    batches = build_batches(
                        topic,
                        partition,
                        records,
                        at,
                        now_ms=now_ms,
                        max_batch_bytes=limit,
                        max_record_bytes=settings.max_record_bytes or settings.max_produce_bytes,
                        compression=producer._message_accumulator._compression_type,
                    )
                    try:
                        for builder in batches:
                            # This batch was built while the one before was in flight.
                            at = await sender.finish(at)
                            timeout.reschedule(asyncio.get_running_loop().time() + settings.produce_timeout_s)
                            await _until_led(producer, tp)
                            sender.begin(builder, await producer.send_batch(builder, topic, partition=partition))
                    except RecordTooLarge as error:
                        error.sent = await sender.finish(at)
                        raise
                    at = await sender.finish(at)
            except _TOO_LARGE as error:
                self._replace(producer, tp)
                if sender.count == 1:
                    raise RecordTooLarge(topic, partition, at, sender.size, limit, sent=at) from error
                self._limits[topic] = max(min(limit, sender.size) // 2, 1)
                log.warning(
                    "the broker refused a batch, smaller ones will be sent",
                    extra={"action": "batch.split", "topic": topic, "bytes": limit, "limit": self._limits[topic]},
                )
            except ProducerClosed:
                continue  # it was replaced, and has not got this batch
            except (KafkaError, TimeoutError, OSError) as error:
                kafka.note_missing_right(self._connection, error)
                if sender.in_flight:
                    await self._give_up(producer, tp, error)
                raise BatchNotSent(topic, partition, range(at, len(records)), error) from error
            finally:
                first = sender.first if first < 0 else first
                last = max(last, sender.last)
        return SentBatch(topic, partition, first, last, len(records))

    async def _connected(self, tp: TopicPartition | None = None) -> Any:
        """The present producer; if `tp` has a gap, the next one."""
        while tp in self._gaps and self._replacing is not None:
            await asyncio.wait([self._replacing])
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
        self._withdrawals[producer] = SendWithdrawal(producer)
        return producer

    async def _give_up(self, producer: Any, tp: TopicPartition, error: Exception) -> None:
        """Write nothing more of a partition whose batch failed. The batches of other partitions go on."""
        is_clean = await self._withdrawals[producer].withdraw(tp)
        if is_clean is None:
            await self._abandon(producer)
        elif not (is_clean and isinstance(error, TimeoutError)):
            self._replace(producer, tp)

    def _replace(self, failed: Any, tp: TopicPartition) -> None:
        """Use a new producer from now on: a refused batch leaves a gap in the sequence numbers, and Kafka refuses what follows.

        Until it is connected, which takes long if it asks a broker that hangs, the present one goes on with the other partitions.
        """
        if self._producer is failed:
            self._gaps.add(tp)
            if self._replacing is None:
                self._replacing = asyncio.create_task(self._connect_next(failed))

    async def _connect_next(self, failed: Any) -> None:
        following = None
        try:
            while following is None and self._producer is failed:
                try:
                    following = await self._prepared(failed.client)
                except (KafkaError, TimeoutError, OSError) as error:
                    log.warning(
                        "the next producer cannot connect yet, will be retried",
                        extra={"action": "producer.replace", "error": error},
                    )
                    await asyncio.sleep(_CONNECT_AGAIN_S)
        finally:
            self._replacing = None
            retired = following
            if self._producer is failed:
                self._gaps.clear()
                self._producer, retired = following, failed
            if retired is not None:
                self._retire_soon(retired)

    async def _prepared(self, client: Any) -> Any:
        """A producer that knows the topics, and has the connections, of this client.

        It would wait for any broker that hangs to get them.
        """
        nodes = [
            node for (node, group), one in client._conns.items() if group == ConnectionGroup.DEFAULT and one.connected()
        ]
        async with asyncio.timeout(self._settings.produce_timeout_s):
            producer = await self._connect()
            try:
                if not await producer.client.set_topics(set(client._topics)):
                    raise KafkaConnectionError("no broker answers")
                for node in nodes:
                    await producer.client.ready(node)
            except BaseException:
                self._retire_soon(producer)
                raise
        return producer

    def _retire_soon(self, producer: Any) -> None:
        retiring = asyncio.create_task(self._retire(producer))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def _retire(self, producer: Any) -> None:
        try:
            await asyncio.wait_for(producer.stop(), self._settings.produce_timeout_s)
        except (KafkaError, TimeoutError, OSError):
            await self._abandon(producer)

    async def _abandon(self, producer: Any) -> None:
        """Stop the producer at once, so that nothing is written after the caller got an error.

        aiokafka retries an idempotent batch without a limit.
        """
        if producer is None:
            return
        if self._producer is producer:
            self._producer = None
            self._gaps.clear()
        producer._closed = True
        sending = producer._sender.sender_task
        if sending is not None:
            sending.cancel()
        await abort_connections(producer.client, _ABANDON_TIMEOUT_S)
        if sending is not None:
            await asyncio.wait([sending], timeout=_ABANDON_TIMEOUT_S)
        accumulator = producer._message_accumulator
        # A batch that waits for its next attempt is not pending, but its callback removes it from there.
        accumulator._pending_batches.update(chain.from_iterable(accumulator._batches.values()))
        batches = [*accumulator._pending_batches]
        accumulator.fail_all(KafkaTimeoutError("abandoned"))
        # Some of them have no waiter any more. asyncio logs an error that was never read.
        for future in chain.from_iterable((batch.future, batch._drain_waiter) for batch in batches):
            if future.done() and not future.cancelled():
                future.exception()
