"""`/lag`: the lag of this worker's partitions, at most some seconds old."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from notify_streams.errors import StoreUnavailable
from notify_streams.transport import batched_consumer, known_offsets
from notify_streams.web.responses import Content, SharedView, json_content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.app import NotifyApp


class PartitionLag(msgspec.Struct, frozen=True):
    """One assigned partition."""

    topic: str
    partition: int
    #: None while the partition is not open.
    position: int | None
    end: int
    lag: int


def known_lag(worker: NotifyApp) -> list[PartitionLag] | None:
    """The lag of each assigned partition, by topic and partition. None if Kafka did not answer lately, or before the start."""
    offsets = known_offsets(worker)
    if offsets is None:
        return None
    consumer = batched_consumer(worker)
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


class Lag(SharedView):
    async def content(self) -> Content:
        partitions = known_lag(self.worker)
        if partitions is None:
            raise StoreUnavailable("this worker knows no partition ends: Kafka does not answer, or it has just started")
        return json_content(
            {"region": self.worker.settings.region, "role": self.worker.role, **lag_payload(partitions)}
        )
