"""Writes batches of `forward.<region>` to the topics of that region's Kafka.

Records keep their order (acks=all, idempotent), and their partition if that region has as many partitions; else they go to the user's
bucket there. At least once: what was sent without an acknowledgement is sent again; readers recognise a record by its id, version or time.
A region that does not answer never blocks this one: start does not wait for a connection, and every call is bounded in time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from aiokafka.errors import KafkaError

from notify_streams import tasks
from notify_streams.errors import RetryLater
from notify_streams.records.partitioner import bucket_of
from notify_streams.regions.forwarding.headers import arrival_headers
from notify_streams.topics import FORWARDED, HEADROOM_BYTES
from notify_streams.transport.batch_producer import BatchProducer, ProducerRecord, most_batches
from notify_streams.transport.send_errors import BatchNotSent, SendError
from notify_streams.transport.settings import TransportSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.kafka import KafkaConnection
    from notify_streams.records.batch import Batch, SourceRecord
    from notify_streams.settings import Settings

log = logging.getLogger(__name__)

#: A broker accepts 1,048,588 bytes a record batch by default; `BatchProducer` adapts to a topic that accepts less.
_BATCH_BYTES: Final = 1_000_000
#: Connections to the region; each sends some of the partitions. A client has one request in flight on a connection, so with only one
#: a partition could wait a whole round trip for another partition's request.
_CONNECTIONS: Final = 8
_CONNECT_TIMEOUT_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 20.0


class RemoteState(msgspec.Struct):
    """What operators see of a region that this one forwards to."""

    region: str
    connected: bool = False
    #: Records that the other region has acknowledged since this worker started.
    handed_over: int = 0
    #: Records being sent, by partition; they stay here while the region does not answer.
    in_hand: dict[int, int] = {}
    #: Seconds that the last batch took.
    last_took_s: float | None = None
    last_error: str | None = None
    #: Unix time of the first failure since the last success; None while batches succeed.
    failing_since: float | None = None

    def failing_s(self) -> float:
        """For how long the region has accepted nothing; 0 while batches succeed."""
        return 0.0 if self.failing_since is None else max(0.0, time.time() - self.failing_since)


class _Place(NamedTuple):
    """Where records go. With another count the same records are divided in another way."""

    topic: str
    partition: int
    #: How many the topic has.
    partitions: int


class RemoteRegion:
    """Producers to one other region's Kafka."""

    def __init__(self, region: str, connection: KafkaConnection, settings: Settings) -> None:
        self._connection = connection
        self._timeout_s = settings.outbox.publish_timeout_s
        self._settings = TransportSettings(
            max_produce_bytes=_BATCH_BYTES,
            # What this region's topics have taken, that region's topics take.
            max_record_bytes=settings.max_record_bytes + HEADROOM_BYTES,
            produce_timeout_s=self._timeout_s,
            request_timeout_s=min(settings.broker.request_timeout_s, self._timeout_s),
        )
        self._client_id = f"notify-{settings.region}-to-{region}"
        self._producers: dict[int, BatchProducer] = {}
        self._connecting = [asyncio.Lock() for _ in range(_CONNECTIONS)]
        self._opening: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._partitions = settings.partitions
        #: By partition: the start of the batch being sent, and how many records of each place are acknowledged.
        self._acknowledged: dict[int, tuple[int, dict[_Place, int]]] = {}
        self.state = RemoteState(region)

    async def start(self) -> None:
        """Start to connect, and return: a region that does not answer must not delay this worker's start.

        A connection takes ten round trips to open, a second between continents; the first batches should not wait for that.
        """
        self._opening = asyncio.create_task(self._open())

    async def stop(self) -> None:
        """Disconnect, within the timeout. Records in flight may or may not arrive, and are not acknowledged."""
        await tasks.stop([self._opening])
        producers, self._producers = self._producers, {}
        for producer in producers.values():
            self._close(producer)
        if self._closing:
            await asyncio.wait(self._closing, timeout=self._timeout_s)
        for task in self._closing:
            task.cancel()

    async def forward(self, batch: Batch) -> None:
        """Return when the other region has every record of the batch. One batch of a partition at a time.

        Raises:
            RetryLater: it does not have all of them. Call again with the same batch: sending continues at the first missing record.
        """
        began = time.monotonic()
        self.state.in_hand[batch.partition] = len(batch.records)
        start, acknowledged = self._acknowledged.get(batch.partition, (-1, {}))
        if start != batch.start:
            acknowledged = {}
            self._acknowledged[batch.partition] = (batch.start, acknowledged)
        try:
            for target, records in group_by_target(batch.records).items():
                for place, some in (await self._by_place(target, batch.partition, records)).items():
                    await self._send(place, some, acknowledged)
        except RetryLater as error:
            self._failed(str(error))
            raise
        self._acknowledged.pop(batch.partition, None)
        self.state.in_hand.pop(batch.partition, None)
        self.state.handed_over += len(batch.records)
        self.state.last_took_s = time.monotonic() - began
        self._succeeded()

    async def _by_place(
        self, target: str, partition: int, records: Sequence[ProducerRecord]
    ) -> Mapping[_Place, Sequence[ProducerRecord]]:
        """The records by their place in the other region, which may have grown while this one has not."""
        slot = partition % _CONNECTIONS
        producer = await self._connected(slot)
        try:
            async with asyncio.timeout(self._timeout_s):
                count = await producer.partition_count(target)
        except (KafkaError, TimeoutError, OSError) as error:
            self._replace(slot, producer)
            raise RetryLater(f"{target}-{partition}: {type(error).__name__}") from error
        if count == self._partitions:
            return {_Place(target, partition, count): records}
        found: dict[_Place, list[ProducerRecord]] = {}
        for record in records:
            there = remote_partition(record[0], partition, count)
            found.setdefault(_Place(target, there, count), []).append(record)
        return found

    async def _send(self, place: _Place, records: Sequence[ProducerRecord], acknowledged: dict[_Place, int]) -> None:
        target, partition, _ = place
        slot = partition % _CONNECTIONS
        producer = await self._connected(slot)
        first = acknowledged.get(place, 0)
        left = records[first:]
        # The producer bounds each Kafka batch, and says what has arrived. The whole takes longer on a slow link, and a send that is
        # cancelled says nothing: it would begin again and again.
        batches = most_batches(left, _BATCH_BYTES)
        try:
            async with asyncio.timeout((self._timeout_s + 1.0) * batches):
                await producer.send_batch(target, partition, left)
        except BatchNotSent as error:
            acknowledged[place] = first + error.unsent.start
            raise RetryLater(f"{target}-{partition}: not acknowledged: {type(error.cause).__name__}") from error
        except (SendError, KafkaError, TimeoutError, OSError) as error:
            self._replace(slot, producer)
            raise RetryLater(f"{target}-{partition}: {type(error).__name__}") from error
        acknowledged[place] = len(records)

    async def _open(self) -> None:
        async def open_slot(slot: int) -> None:
            # The first batch connects again, and reports an error.
            with suppress(RetryLater, KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await (await self._connected(slot)).partition_count(FORWARDED)

        await asyncio.gather(*map(open_slot, range(_CONNECTIONS)))

    async def _connected(self, slot: int) -> BatchProducer:
        async with self._connecting[slot]:
            if slot not in self._producers:
                producer = BatchProducer(self._connection, self._settings, client_id=self._client_id)
                try:
                    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                        await producer.start()
                except (KafkaError, TimeoutError, OSError) as error:
                    raise RetryLater(f"no connection: {type(error).__name__}") from error
                self._producers[slot] = producer
                self.state.connected = True
            return self._producers[slot]

    def _replace(self, slot: int, producer: BatchProducer) -> None:
        """Use a new producer next time: records that the old one still holds must not arrive after newer ones."""
        if self._producers.get(slot) is producer:
            del self._producers[slot]
            self._close(producer)

    def _close(self, producer: BatchProducer) -> None:
        async def close() -> None:
            with suppress(KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await producer.stop()

        self.state.connected = bool(self._producers)
        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _succeeded(self) -> None:
        if self.state.failing_since is not None:
            failed_s = round(time.time() - self.state.failing_since, 1)
            self.state.failing_since = None
            log.info(
                "region accepts records again",
                extra={"action": "remote_region.recover", "to": self.state.region, "for_s": failed_s},
            )

    def _failed(self, error: str) -> None:
        self.state.last_error = error
        if self.state.failing_since is None:
            self.state.failing_since = time.time()
            log.warning(
                "region does not accept records, will be retried",
                extra={"action": "remote_region.fail", "to": self.state.region, "error": error},
            )


def remote_partition(key: bytes | None, partition: int, count: int) -> int:
    """The partition in a region of another number of them: the bucket of the user id that is the key. Readers there correct any other."""
    try:
        return partition % count if key is None else bucket_of(key.decode(), count)
    except UnicodeDecodeError:
        return partition % count


def group_by_target(records: Sequence[SourceRecord]) -> dict[str, list[ProducerRecord]]:
    """The records of each target topic, in order, with the headers that they arrive with."""
    targets: dict[str, list[ProducerRecord]] = {}
    last, group = "", []
    for record in records:
        target, headers = arrival_headers(record.headers)
        if target != last:
            last, group = target, targets.setdefault(target, [])
        group.append((record.key, record.value, headers))
    return targets
