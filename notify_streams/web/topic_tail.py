"""Reads the newest records of a topic, without a consumer group."""

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

_TIMEOUT_S: Final = 4.0
_MAX_BYTES: Final = 16 * 1024 * 1024
_FETCH_BYTES: Final = 1024 * 1024
_POLL_MS: Final = 200
_REQUEST_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class TopicTail:
    """Records, the newest first. `complete` is False if a limit of time or bytes ended the reading."""

    records: Sequence[ConsumerRecord[bytes, bytes]]
    complete: bool


def read_only_consumer(worker: NotifyApp, group: str | None = None) -> Any:
    """A consumer that joins no group; with `group` it can read that group's committed offsets."""
    return kafka.consumer(
        worker.settings.kafka_connection(),
        group=group,
        request_timeout_s=_REQUEST_TIMEOUT_S,
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_bytes=_FETCH_BYTES,
    )


async def read_tail(worker: NotifyApp, topic: str, limit: int) -> TopicTail:
    """Up to `limit` records of all partitions together, at most 16 MB.

    Raises:
        StoreUnavailable: Kafka does not respond.
    """
    consumer = read_only_consumer(worker)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await consumer.start()
            tps = [TopicPartition(topic, partition) for partition in range(worker.settings.partitions)]
            consumer.assign(tps)
            beginnings = await consumer.beginning_offsets(tps)
            ends = await consumer.end_offsets(tps)
        starts = {tp: max(beginnings[tp], ends[tp] - limit) for tp in tps}
        wanted = {tp: ends[tp] for tp, start in starts.items() if start < ends[tp]}
        for tp in wanted:
            consumer.seek(tp, starts[tp])
        consumer.pause(*(tp for tp in tps if tp not in wanted))
        records, complete = await _read(consumer, wanted)
    except (KafkaError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"{topic} cannot be read from Kafka: {type(error).__name__}") from error
    finally:
        await stop_consumer(consumer, _REQUEST_TIMEOUT_S)
    records.sort(key=lambda record: (record.timestamp, record.offset), reverse=True)
    return TopicTail(records[:limit], complete)


async def _read(consumer: Any, ends: Mapping[TopicPartition, int]) -> tuple[list[Any], bool]:
    records: list[Any] = []
    size = 0
    waiting = dict(ends)
    deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
    while waiting and size < _MAX_BYTES and asyncio.get_running_loop().time() < deadline:
        found = await consumer.getmany(*waiting, timeout_ms=_POLL_MS)
        for part in found.values():
            records += part
            size += sum(len(record.value or b"") for record in part)
        for tp, end in list(waiting.items()):
            if await consumer.position(tp) >= end:
                del waiting[tp]
    return records, not waiting
