"""Publishes records without the outbox, at least once.

For copies and repairs (contacts and choices for other regions, locations). Triggers always go through the outbox.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from notify_streams import metrics
from notify_streams.errors import PermanentFailure, RetryLater
from notify_streams.records.outcomes import DeadReason
from notify_streams.retry import RetryPolicy, call_for_each
from notify_streams.transport.send_errors import RecordTooLarge, SendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.outbox.flush_plan import Packed
    from notify_streams.records.batch import OutboxRecord, Producer

log = logging.getLogger(__name__)
_RETRY: Final = RetryPolicy("publish_directly", first_s=0.05, max_s=2.0, max_unknown_s=30.0)


async def publish_directly(producer: Producer, outputs: Iterable[OutboxRecord]) -> None:
    """Return when Kafka has acknowledged all records, in order per partition. Some may be published twice.

    A record that is too large for its topic is rejected, because it would stop the others.
    """
    batches: dict[tuple[str, int], list[Packed]] = {}
    for topic, partition, key, value, headers in outputs:
        batches.setdefault((topic, partition), []).append((key, value, headers))
    for (topic, partition), records in batches.items():
        await call_for_each(_RETRY, partial(_send, producer, topic, partition), records, partial(_reject, topic))


def _reject(topic: str, record: Packed) -> None:
    metrics.REJECTED_RECORDS.labels(topic, DeadReason.TOO_LARGE.value).inc()
    log.error(
        "record too large for its topic, not published",
        extra={"action": "copy.reject", "topic": topic, "bytes": len(record[1])},
    )


async def _send(producer: Producer, topic: str, partition: int, records: Sequence[Packed]) -> None:
    try:
        await producer.send_batch(topic, partition, records)
    except RecordTooLarge as error:
        raise PermanentFailure(f"{topic}-{partition}: a record of {error.size} bytes") from error
    except (SendError, KafkaError, TimeoutError, OSError) as error:
        raise RetryLater(f"{topic}-{partition}: {type(error).__name__}") from error
