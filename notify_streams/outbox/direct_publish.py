"""Publishes records without the outbox, at least once.

For copies and repairs (contacts and choices for other regions, locations). Triggers always go through the outbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from notify_streams.errors import RetryLater
from notify_streams.retry import RetryPolicy
from notify_streams.transport.send_errors import SendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.outbox.flush_plan import Packed
    from notify_streams.records.batch import OutboxRecord, Producer

_RETRY: Final = RetryPolicy("publish_directly", first_s=0.05, max_s=2.0)


async def publish_directly(producer: Producer, outputs: Iterable[OutboxRecord]) -> None:
    """Return when Kafka has acknowledged all records, in order per partition. Some may be published twice."""
    batches: dict[tuple[str, int], list[Packed]] = {}
    for topic, partition, key, value, headers in outputs:
        batches.setdefault((topic, partition), []).append((key, value, headers))
    for (topic, partition), records in batches.items():
        await _RETRY.call(_send, producer, topic, partition, records)


async def _send(producer: Producer, topic: str, partition: int, records: Sequence[Packed]) -> None:
    try:
        await producer.send_batch(topic, partition, records)
    except (SendError, KafkaError, TimeoutError, OSError) as error:
        raise RetryLater(f"{topic}-{partition}: {type(error).__name__}") from error
