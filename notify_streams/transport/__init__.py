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
from .tables.batched_table import BatchedTable, PartitionNotOwned
from .tables.memory_store import in_memory
from .tables.progress import Progress
from .tables.replicated_table import ReplicatedTable
from .tables.rocks_store import on_disk
from .watch import ready, recovery, stuck
from .watchdog import Stuck, Watchdog
from .wiring import attach, batch_producer, batched_consumer, may_wait, on_assigned, on_revoked, waits_while

__all__ = [
    "BatchEvent",
    "BatchNotSent",
    "BatchProducer",
    "BatchedSchema",
    "BatchedTable",
    "Consumer",
    "Outgoing",
    "PartitionNotOwned",
    "Producer",
    "Progress",
    "Record",
    "RecordBatch",
    "RecordTooLarge",
    "ReplicatedTable",
    "SendError",
    "Sent",
    "Stuck",
    "Transport",
    "TransportSettings",
    "Watchdog",
    "attach",
    "batch_producer",
    "batched_consumer",
    "batched_topic",
    "in_memory",
    "may_wait",
    "on_assigned",
    "on_disk",
    "on_revoked",
    "ready",
    "recovery",
    "stuck",
    "waits_while",
]
