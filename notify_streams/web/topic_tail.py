"""The newest records of a topic, read by a client of its own that joins no group and commits nothing. Bounded in count, bytes and time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from notify_streams import kafka
from notify_streams.errors import StoreUnavailable
from notify_streams.transport.client_shutdown import stop_consumer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.structs import ConsumerRecord

    from notify_streams.app import NotifyApp

_WITHIN_S: Final = 4.0
_MOST_BYTES: Final = 16 * 1024 * 1024
_FETCH_BYTES: Final = 1024 * 1024
_POLL_MS: Final = 200
_REQUEST_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class TopicTail:
    """Records, the newest first. `complete` is False where time or bytes ran out before the ends were reached."""

    records: Sequence[ConsumerRecord[bytes, bytes]]
    complete: bool


def client(worker: NotifyApp, group: str | None = None) -> Any:
    """A consumer of the worker's Kafka that only looks: with a group it may ask for that group's offsets, and never joins it."""
    return kafka.consumer(
        worker.settings.kafka_connection(),
        group=group,
        request_timeout_s=_REQUEST_TIMEOUT_S,
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_bytes=_FETCH_BYTES,
    )


async def read_tail(worker: NotifyApp, topic: str, most: int) -> TopicTail:
    """Up to `most` records of all partitions together.

    Raises:
        StoreUnavailable: Kafka does not answer.
    """
    consumer = client(worker)
    try:
        async with asyncio.timeout(_WITHIN_S):
            await consumer.start()
            places = [TopicPartition(topic, partition) for partition in range(worker.settings.partitions)]
            consumer.assign(places)
            beginnings = await consumer.beginning_offsets(places)
            ends = await consumer.end_offsets(places)
        starts = {place: max(beginnings[place], ends[place] - most) for place in places}
        wanted = {place: ends[place] for place, start in starts.items() if start < ends[place]}
        for place in wanted:
            consumer.seek(place, starts[place])
        consumer.pause(*(place for place in places if place not in wanted))
        records, complete = await _read(consumer, wanted)
    except (KafkaError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Kafka does not show {topic}: {type(error).__name__}") from error
    finally:
        await stop_consumer(consumer, _REQUEST_TIMEOUT_S)
    records.sort(key=lambda record: (record.timestamp, record.offset), reverse=True)
    return TopicTail(records[:most], complete)


async def _read(consumer: Any, ends: Mapping[TopicPartition, int]) -> tuple[list[Any], bool]:
    records: list[Any] = []
    size = 0
    waiting = dict(ends)
    deadline = asyncio.get_running_loop().time() + _WITHIN_S
    while waiting and size < _MOST_BYTES and asyncio.get_running_loop().time() < deadline:
        found = await consumer.getmany(*waiting, timeout_ms=_POLL_MS)
        for part in found.values():
            records += part
            size += sum(len(record.value or b"") for record in part)
        for place, end in list(waiting.items()):
            if await consumer.position(place) >= end:
                del waiting[place]
    return records, not waiting
