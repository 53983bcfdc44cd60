"""Faust at Kafka's speed: one event a partition batch, batched tables, an honest acknowledgement.

Knows Kafka and Faust, and not one word of what the records mean. Found by Faust under the URL scheme `batched`.
"""

from .batch_producer import BatchProducer, Outgoing, Sent
from .batched_topic import BatchedSchema, BatchEvent, batched_topic
from .consumer import Consumer
from .driver import Producer, Transport
from .record_batch import Record, RecordBatch
from .send_errors import BatchNotSent, RecordTooLarge, SendError
from .settings import TransportSettings
from .wiring import attach, batch_producer, batched_consumer, on_assigned, on_revoked

__all__ = [
    "BatchEvent",
    "BatchNotSent",
    "BatchProducer",
    "BatchedSchema",
    "Consumer",
    "Outgoing",
    "Producer",
    "Record",
    "RecordBatch",
    "RecordTooLarge",
    "SendError",
    "Sent",
    "Transport",
    "TransportSettings",
    "attach",
    "batch_producer",
    "batched_consumer",
    "batched_topic",
    "on_assigned",
    "on_revoked",
]
