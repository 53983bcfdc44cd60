"""An agent that keeps the batches of a topic."""

from typing import Any

import faust

from notify_streams.transport import BatchEvent, RecordBatch, batched_topic


class BatchCollector:
    """Events and batches in the order of delivery. Reads every batch; acknowledges it if `ack`."""

    def __init__(self, app: faust.App, topic: str, *, ack: bool = True) -> None:
        self.events: list[BatchEvent] = []
        self.batches: list[RecordBatch] = []

        @app.agent(batched_topic(app, topic), name=f"collect-{topic}")
        async def collect(stream: Any) -> None:
            async for event in stream.noack().events():
                self.batches.append(event.value)
                self.events.append(event)
                if ack:
                    event.ack()

    @property
    def count(self) -> int:
        """Records so far."""
        return sum(len(batch) for batch in self.batches)

    def of(self, partition: int) -> list[RecordBatch]:
        return [batch for batch in self.batches if batch.partition == partition]

    def values(self, partition: int = 0) -> list[bytes | None]:
        return [record.value for batch in self.of(partition) for record in batch.records]


def without_gaps(batches: list[RecordBatch]) -> bool:
    """Whether each batch starts where the one before it ends."""
    return [batch.start for batch in batches[1:]] == [batch.end for batch in batches[:-1]]
