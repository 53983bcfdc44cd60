"""The way to one other region: batches of `forward.<region>` into that region's own topics. The only code that speaks to it.

In: batches of one partition. Out: they are in the other cluster (acks=all, idempotent, the same partition), in order, or
`RetryLater`. At least once: what was sent without an answer is sent again, and readers over there know a record by its id,
version or time. Nothing of this region waits for the other one: the start does not wait for connections, every call is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from aiokafka.errors import KafkaError

from notify_streams.errors import RetryLater
from notify_streams.kafka import KafkaConnection
from notify_streams.regions.forwarding.headers import arrival_headers
from notify_streams.topics import FORWARDED
from notify_streams.transport.batch_producer import BatchProducer, ProducerRecord
from notify_streams.transport.send_errors import BatchNotSent, SendError
from notify_streams.transport.settings import TransportSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.batch import Batch, SourceRecord
    from notify_streams.settings import Settings

log = logging.getLogger(__name__)

#: A broker's default for one record batch is 1,048,588 bytes; a topic that takes less is learnt from its refusal.
_BATCH_BYTES: Final = 1_000_000
#: Connections to the region, each for some of the partitions. A client has one request under way on a connection: with only one, a
#: partition would wait up to a whole round trip for the others' request before its own may leave.
_CONNECTIONS: Final = 8
_CONNECT_TIMEOUT_S: Final = 5.0
_RETIRE_TIMEOUT_S: Final = 20.0


class RemoteState(msgspec.Struct):
    """What operators see of the way to a region."""

    region: str
    connected: bool = False
    #: Records that the other cluster has since this worker started.
    handed_over: int = 0
    #: Records that are being handed over, by partition; while nothing gets through they stay here.
    in_hand: dict[int, int] = {}
    #: Seconds that the last batch took.
    last_took_s: float | None = None
    last_error: str | None = None
    #: Unix time since when nothing gets through, None while it works.
    failing_since: float | None = None


class RemoteRegion:
    """One region's Kafka, seen from another region's forward role."""

    def __init__(self, region: str, connection: KafkaConnection, settings: Settings) -> None:
        self._connection = connection
        self._timeout_s = settings.outbox.publish_timeout_s
        self._settings = TransportSettings(
            max_produce_bytes=_BATCH_BYTES,
            produce_timeout_s=self._timeout_s,
            request_timeout_s=min(settings.broker.request_timeout_s, self._timeout_s),
        )
        self._client_id = f"notify-{settings.region}-to-{region}"
        self._producers: dict[int, BatchProducer] = {}
        self._connecting = [asyncio.Lock() for _ in range(_CONNECTIONS)]
        self._opening: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        #: By partition: the batch being handed over (its start) and how many records of each target are certainly there.
        self._done: dict[int, tuple[int, dict[str, int]]] = {}
        self.state = RemoteState(region)

    async def start(self) -> None:
        """Begin to connect, and return: a region that is away must not hold up this worker's start.

        A way takes ten round trips to open, a whole second between continents, which the first batches need not wait for.
        """
        self._opening = asyncio.create_task(self._open())

    async def stop(self) -> None:
        """Disconnect; bounded. What is under way may or may not arrive, and is not acknowledged."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening], timeout=self._timeout_s)
        producers, self._producers = self._producers, {}
        for producer in producers.values():
            self._retire(producer)
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=self._timeout_s)
        for task in self._retiring:
            task.cancel()

    async def hand_over(self, batch: Batch) -> None:
        """Return when the other cluster has every record of the batch; batches of one partition must come one at a time.

        Raises:
            RetryLater: it does not have all of them. Call again with the same batch: it goes on with the first that is missing.
        """
        began = time.monotonic()
        self.state.in_hand[batch.partition] = len(batch.records)
        at, sent = self._done.get(batch.partition, (-1, {}))
        if at != batch.start:
            sent = {}
            self._done[batch.partition] = (batch.start, sent)
        try:
            for target, records in group_by_target(batch.records).items():
                await self._send(target, batch.partition, records, sent)
        except RetryLater as error:
            self._failed(str(error))
            raise
        self._done.pop(batch.partition, None)
        self.state.in_hand.pop(batch.partition, None)
        self.state.handed_over += len(batch.records)
        self.state.failing_since = None
        self.state.last_took_s = time.monotonic() - began

    async def _send(self, target: str, partition: int, records: Sequence[ProducerRecord], sent: dict[str, int]) -> None:
        way = partition % _CONNECTIONS
        producer = await self._connected(way)
        first = sent.get(target, 0)
        try:
            async with asyncio.timeout(self._timeout_s + 1.0):
                await producer.send_batch(target, partition, records[first:])
        except BatchNotSent as error:
            sent[target] = first + error.unsent.start
            raise RetryLater(f"{target}-{partition}: not acknowledged: {type(error.cause).__name__}") from error
        except (SendError, KafkaError, TimeoutError, OSError) as error:
            self._abandon(way, producer)
            raise RetryLater(f"{target}-{partition}: {type(error).__name__}") from error
        sent[target] = len(records)

    async def _open(self) -> None:
        async def open_way(way: int) -> None:
            # The first batch tries again, and says why it cannot.
            with suppress(RetryLater, KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await (await self._connected(way)).fetch_metadata(FORWARDED)

        await asyncio.gather(*map(open_way, range(_CONNECTIONS)))

    async def _connected(self, way: int) -> BatchProducer:
        async with self._connecting[way]:
            if way not in self._producers:
                producer = BatchProducer(self._connection, self._settings, client_id=self._client_id)
                try:
                    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                        await producer.start()
                except (KafkaError, TimeoutError, OSError) as error:
                    raise RetryLater(f"no connection: {type(error).__name__}") from error
                self._producers[way] = producer
                self.state.connected = True
            return self._producers[way]

    def _abandon(self, way: int, producer: BatchProducer) -> None:
        """Make a new producer next time: what the old one still holds must not arrive behind newer records."""
        if self._producers.get(way) is producer:
            del self._producers[way]
            self._retire(producer)

    def _retire(self, producer: BatchProducer) -> None:
        async def end() -> None:
            with suppress(KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(_RETIRE_TIMEOUT_S):
                    await producer.stop()

        self.state.connected = bool(self._producers)
        task = asyncio.create_task(end())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _failed(self, why: str) -> None:
        self.state.last_error = why
        if self.state.failing_since is None:
            self.state.failing_since = time.time()
            log.warning("a region is away", extra={"action": "hand_over", "to": self.state.region, "error": why})


def group_by_target(records: Sequence[SourceRecord]) -> dict[str, list[ProducerRecord]]:
    """The records of each target topic, in order, with the headers that they arrive with."""
    targets: dict[str, list[ProducerRecord]] = {}
    last, outgoing = "", []
    for record in records:
        target, headers = arrival_headers(record.headers)
        if target != last:
            last, outgoing = target, targets.setdefault(target, [])
        outgoing.append((record.key, record.value, headers))
    return targets
