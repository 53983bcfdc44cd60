"""Declares the topics whose events are whole batches, and makes the events.

In: a topic's name. Out: a Faust topic whose `event.value` is a `RecordBatch`. Other topics stay as Faust has them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from faust import Event, Schema
from faust.types import TP, AppT, EventT, TopicT
from faust.types.tuples import ConsumerMessage, Message

from notify_streams.transport.app_state import app_state
from notify_streams.transport.record_batch import RecordBatch

if TYPE_CHECKING:
    from notify_streams.transport.acknowledgement import AckedPrefix, DeliveredRange
    from notify_streams.transport.consumer import Consumer
    from notify_streams.transport.partition_buffer import PartitionBuffer


class BatchMessage(ConsumerMessage):
    """Stands in Faust's queues for whatever will wait in the buffer when an agent takes it."""

    __slots__ = ("batch", "buffer", "consumer", "delivery", "prefix")

    def __init__(self, consumer: Consumer, tp: TP, buffer: PartitionBuffer, generation_id: int) -> None:
        super().__init__(
            tp.topic,
            tp.partition,
            buffer.prefix.delivered_to,
            0.0,
            0,
            None,
            None,
            None,
            None,
            tp=tp,
            generation_id=generation_id,
        )
        self.consumer = consumer
        self.buffer = buffer
        self.batch: RecordBatch | None = None
        self.delivery: DeliveredRange | None = None
        self.prefix: AckedPrefix | None = None

    def materialize(self) -> RecordBatch:
        """What waits in the buffer, once and for all: a second agent of the same topic gets the same batch."""
        if self.batch is None:
            self.prefix = self.buffer.prefix
            was_full = self.buffer.full
            self.batch, self.delivery = self.buffer.next_batch()
            self.consumer.on_materialized(self.buffer, was_full)
        return self.batch


class BatchEvent(Event):
    """An event of a batched topic."""

    @property
    def value(self) -> RecordBatch:
        message = self.message
        assert isinstance(message, BatchMessage)
        return message.materialize()

    @value.setter
    def value(self, _: Any) -> None:
        """Faust's constructor sets it; the buffer decides."""

    def ack(self) -> bool:
        """Acknowledge the batch: everything in it is durable.

        With several agents on the topic, the last one's counts. A batch that no agent took, and one of a partition
        that was revoked or sought since, cannot be acknowledged: its records come again.

        Returns:
            Whether this was the last acknowledgement the batch needed.
        """
        message = self.message
        assert isinstance(message, BatchMessage)
        if self.acked or message.batch is None:
            return False
        self.acked = True
        return message.decref() == 0 and message.consumer.on_acked(message)

    def current(self) -> bool:
        """Whether the partition goes on behind this batch: it was neither revoked nor sought since the batch was taken."""
        message = self.message
        assert isinstance(message, BatchMessage)
        return message.consumer.holds(message)

    def refuse(self, position: int) -> bool:
        """Read the partition again from `position`, and forget all that is in flight for it.

        For an agent that knows better where the partition stands (it keeps a ledger), or that failed and wants the
        batch again. Batches that were delivered before can no longer be acknowledged.

        Returns:
            False if the batch is not `current`: its partition is read elsewhere, or is read again already.
        """
        message = self.message
        assert isinstance(message, BatchMessage)
        return message.consumer.refuse(message, position)


class BatchedSchema(Schema[Any, Any]):
    """Decodes nothing: the event's value is the `RecordBatch`."""

    def compile(
        self, app: AppT, *, on_key_decode_error: Any = None, on_value_decode_error: Any = None, **kwargs: Any
    ) -> Callable[..., Awaitable[EventT[Any]]]:
        """What Faust calls for each message of the topic."""

        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:
            return BatchEvent(app, None, None, None, message)

        return decode


def batched_topic(app: AppT, name: str, *, partitions: int | None = None, **options: Any) -> TopicT:
    """A topic of which an agent gets one event a partition batch.

    Take it with `async for event in stream.noack().events()`, and `event.ack()` once everything in `event.value`
    is durable. Nothing else acknowledges a batch: not an exception, not a cancellation, not the loop's next turn.

    Args:
        partitions: how many to declare, where the app declares topics; None leaves it to the broker.
    """
    app_state(app).batched_topics.add(name)
    return app.topic(name, partitions=partitions, schema=BatchedSchema(), **options)
