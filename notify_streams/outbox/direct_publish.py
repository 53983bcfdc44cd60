"""Records that need no account of their own: written until Kafka has them, by a caller who can do the same again after a crash.

For what only copies or repairs (contacts and choices for other regions, lost locations). A trigger never leaves this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from notify_streams.errors import RetryLater
from notify_streams.retry import STORE
from notify_streams.transport.send_errors import SendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.outbox.flush_plan import Packed
    from notify_streams.records.batch import OutboxRecord, Producer


async def publish_directly(producer: Producer, outputs: Iterable[OutboxRecord]) -> None:
    """Return when all are acknowledged, each partition's in order; some may be there twice."""
    batches: dict[tuple[str, int], list[Packed]] = {}
    for topic, partition, key, value, headers in outputs:
        batches.setdefault((topic, partition), []).append((key, value, headers))
    for (topic, partition), records in batches.items():
        await STORE.call(_send, producer, topic, partition, records)


async def _send(producer: Producer, topic: str, partition: int, records: Sequence[Packed]) -> None:
    try:
        await producer.send_batch(topic, partition, records)
    except (SendError, KafkaError, TimeoutError, OSError) as error:
        raise RetryLater(f"{topic}-{partition}: {type(error).__name__}") from error
