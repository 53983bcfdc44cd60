"""Declares batched topics; makes the events whose value is a `RecordBatch`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from faust import Event, Schema
from faust.types import TP, AppT, EventT, TopicT
from faust.types.tuples import ConsumerMessage, Message

from notify_streams.transport.app_state import app_state
from notify_streams.transport.record_batch import RecordBatch

if TYPE_CHECKING:
    from notify_streams.transport.acknowledgement import AckedPrefix, DeliveredRange
    from notify_streams.transport.partition_buffer import PartitionBuffer


class ReadPartition(Protocol):
    """What identifies a reading of a partition. After a seek or a revocation its buffer has another prefix."""

    @property
    def tp(self) -> TP: ...
    @property
    def buffer(self) -> PartitionBuffer: ...
    @property
    def prefix(self) -> AckedPrefix | None: ...


class BatchConsumer(Protocol):
    """What messages and events call on the consumer (`consumer.Consumer`)."""

    def on_materialized(self, buffer: PartitionBuffer, was_full: bool) -> None: ...
    def on_acked(self, message: BatchMessage) -> None: ...
    def is_current(self, message: BatchMessage) -> bool: ...
    def refuse(self, message: ReadPartition, position: int) -> bool: ...
    def redeliver(self, message: BatchMessage) -> bool: ...


@dataclass(frozen=True, slots=True)
class PartitionReader:
    """A partition as it is read now. Unlike an event it keeps no batch."""

    consumer: BatchConsumer
    tp: TP
    buffer: PartitionBuffer
    prefix: AckedPrefix | None

    def refuse(self, position: int) -> bool:
        """See `BatchEvent.refuse`."""
        return self.consumer.refuse(self, position)


class BatchMessage(ConsumerMessage):
    """A message in Faust's queues. The agent that reads it first gets what is then in the partition buffer."""

    __slots__ = ("batch", "buffer", "consumer", "delivered", "prefix")

    def __init__(self, consumer: BatchConsumer, tp: TP, buffer: PartitionBuffer, generation_id: int) -> None:
        offset = buffer.prefix.delivered_to
        super().__init__(*tp, offset, 0.0, 0, None, None, None, None, tp=tp, generation_id=generation_id)
        self.consumer = consumer
        self.buffer = buffer
        self.batch: RecordBatch | None = None
        self.delivered: DeliveredRange | None = None
        self.prefix: AckedPrefix | None = None

    def materialize(self) -> RecordBatch:
        """The batch. It leaves the buffer at the first call, so that several agents of a topic get the same one."""
        if self.batch is None:
            self.prefix = self.buffer.prefix
            was_full = self.buffer.full
            self.batch, self.delivered = self.buffer.next_batch()
            self.consumer.on_materialized(self.buffer, was_full)
        return self.batch


class BatchEvent(Event):
    """An event of a batched topic."""

    message: BatchMessage

    @property
    def value(self) -> RecordBatch:
        return self.message.materialize()

    @value.setter
    def value(self, _: Any) -> None:
        """Ignored: Faust's constructor sets a value, but the batch comes from the buffer."""

    def ack(self) -> bool:
        """Acknowledge the batch: everything in it is durable.

        With several agents on the topic, the offsets may be committed after the last one's call. Without effect on a batch that no agent
        read, or whose partition was revoked or sought since: its records are delivered again.

        Returns:
            Whether this was the last acknowledgement that the batch needed.
        """
        message = self.message
        if self.acked or message.batch is None:
            return False
        self.acked = True
        if message.decref():
            return False
        message.consumer.on_acked(message)
        return True

    def current(self) -> bool:
        """False after the partition was revoked or sought since the batch was read."""
        return self.message.consumer.is_current(self.message)

    def refuse(self, position: int) -> bool:
        """Read the partition again from `position`, and forget everything that is in flight for it.

        For an agent that keeps its own position (a ledger), or that failed and wants the batch again. Batches that were delivered before
        can no longer be acknowledged.

        Returns:
            False, without effect, if the batch is not `current`.
        """
        return self.message.consumer.refuse(self.message, position)

    @property
    def reader(self) -> PartitionReader:
        """Of the partition, after the batch was read."""
        message = self.message
        return PartitionReader(message.consumer, message.tp, message.buffer, message.prefix)

    def redeliver(self) -> bool:
        """Read the partition again from the first batch that is not acknowledged. For an agent whose processing of a batch failed.

        It must have dropped the later events of the partition: they are not delivered to it once more.

        Returns:
            False, without effect, if the batch is not `current`.
        """
        return self.message.consumer.redeliver(self.message)


class BatchedSchema(Schema[Any, Any]):
    """Decodes nothing: the event's value is the `RecordBatch`."""

    def compile(
        self, app: AppT, *, on_key_decode_error: Any = None, on_value_decode_error: Any = None, **kwargs: Any
    ) -> Callable[..., Awaitable[EventT[Any]]]:
        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:
            return BatchEvent(app, None, None, None, message)

        return decode


def batched_topic(app: AppT, name: str, *, partitions: int | None = None, **options: Any) -> TopicT:
    """A topic whose agents get one event for each batch of a partition.

    Read it with `async for event in stream.noack().events()`, and call `event.ack()` once everything in `event.value`
    is durable. Nothing else acknowledges a batch: neither an exception, nor a cancellation, nor the next iteration.

    Args:
        partitions: how many to declare, where the app declares topics; None: the broker's default.
    """
    app_state(app).batched_topics.add(name)
    return app.topic(name, partitions=partitions, schema=BatchedSchema(), **options)
