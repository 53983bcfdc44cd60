"""`/lag`: the lag of this worker's partitions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted

from notify_streams.errors import StoreUnavailable
from notify_streams.transport import batched_consumer
from notify_streams.web.responses import WebView, json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp

_TIMEOUT_S: Final = 3.0


class PartitionLag(msgspec.Struct, frozen=True):
    """One assigned partition."""

    topic: str
    partition: int
    #: None while the partition is not open.
    position: int | None
    end: int
    lag: int


async def read_lag(worker: NotifyApp, timeout_s: float = _TIMEOUT_S) -> list[PartitionLag]:
    """The lag of each assigned partition, by topic and partition.

    Raises:
        StoreUnavailable: Kafka does not respond, or this worker's consumer has not started.
    """
    consumer = batched_consumer(worker)
    try:
        assigned = consumer.source_partitions()
        if not assigned:
            return []
        async with asyncio.timeout(timeout_s):
            offsets = await consumer.partition_offsets(assigned)
    except (KafkaError, ConsumerNotStarted, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"no partition ends from Kafka: {type(error).__name__}") from error
    found = []
    for tp, known in sorted(offsets.items()):
        position = consumer.processed_position(tp)
        begun = max(known.committed or 0, known.beginning) if position is None else position
        found.append(PartitionLag(tp.topic, tp.partition, position, known.end, max(0, known.end - begun)))
    return found


def lag_payload(partitions: Sequence[PartitionLag]) -> dict[str, Any]:
    """The partitions with the sums by topic and of all."""
    topics: dict[str, int] = {}
    for one in partitions:
        topics[one.topic] = topics.get(one.topic, 0) + one.lag
    return {"records": sum(topics.values()), "topics": topics, "partitions": partitions}


class Lag(WebView):
    async def get(self, request: Request) -> Response:
        return json_response(
            {
                "region": self.worker.settings.region,
                "role": self.worker.role,
                **lag_payload(await read_lag(self.worker)),
            }
        )
