"""A Faust transport with one event a partition batch, and batched tables.

For any Faust app: it depends on nothing else of `notify_streams` but `kafka` and `tasks`. Faust finds it by the URL scheme `batched`.
"""

from notify_streams.transport.app_state import (
    attach,
    count_progress_by,
    exempt_from_watchdog,
    faust_credentials,
    hold_partitions_while,
    on_assigned,
    on_partitions_started,
    on_revoked,
    producer_of,
    start_at,
)
from notify_streams.transport.batch_producer import BatchProducer, ProducerRecord, SentBatch
from notify_streams.transport.batched_topic import BatchEvent, batched_topic
from notify_streams.transport.consumer import batched_consumer
from notify_streams.transport.driver import Transport
from notify_streams.transport.health_monitor import (
    kafka_silent_s,
    known_offsets,
    ready,
    recovery,
    stalled,
    stalled_parts,
    stuck,
    table_problems,
    wrong_partition_counts,
)
from notify_streams.transport.record_batch import Record, RecordBatch
from notify_streams.transport.send_errors import BatchNotSent, RecordTooLarge, SendError
from notify_streams.transport.settings import TransportSettings
from notify_streams.transport.tables.disk_store import on_disk
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.partitioned_table import PartitionedTable
from notify_streams.transport.tables.recovery_progress import RecoveryProgress
from notify_streams.transport.tables.replicated_table import ReplicatedTable
from notify_streams.transport.tables.store import StoreFactory
from notify_streams.transport.watchdog import Stuck, Watchdog

__all__ = [
    "BatchEvent",
    "BatchNotSent",
    "BatchProducer",
    "PartitionedTable",
    "ProducerRecord",
    "Record",
    "RecordBatch",
    "RecordTooLarge",
    "RecoveryProgress",
    "ReplicatedTable",
    "SendError",
    "SentBatch",
    "StoreFactory",
    "Stuck",
    "Transport",
    "TransportSettings",
    "Watchdog",
    "attach",
    "batched_consumer",
    "batched_topic",
    "count_progress_by",
    "exempt_from_watchdog",
    "faust_credentials",
    "hold_partitions_while",
    "in_memory",
    "kafka_silent_s",
    "known_offsets",
    "on_assigned",
    "on_disk",
    "on_partitions_started",
    "on_revoked",
    "producer_of",
    "ready",
    "recovery",
    "stalled",
    "stalled_parts",
    "start_at",
    "stuck",
    "table_problems",
    "wrong_partition_counts",
]
