"""Sorts a batch of records about users: those to apply, and what to publish."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from notify_streams import metrics
from notify_streams.records.batch import record_size
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import MAX_BYTES
from notify_streams.rejections import reject
from notify_streams.retry import STORE
from notify_streams.routing.outcome_records import dead_letter, repartitioned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from notify_streams.records.batch import Batch, OutboxRecord, SourceRecord

    #: User id → bucket: which of them are erased. Raises `StoreUnavailable`.
    ErasedAmong = Callable[[Mapping[str, int]], Awaitable[set[str]]]

_RETRY: Final = STORE.named("signups.erased")
#: Key, value and headers: the headers go along when the record is handed on.
MAX_RECORD_BYTES: Final = 2 * MAX_BYTES


class UserRecord(Protocol):
    """A record about one user."""

    @property
    def user_id(self) -> str: ...


R = TypeVar("R", bound=UserRecord)


@dataclass(slots=True)
class SortedBatch(Generic[R]):
    """A batch, sorted."""

    #: Records of this bucket's users, in order.
    valid: list[tuple[SourceRecord, R]] = field(default_factory=list)
    #: Dead letters, and copies of records for the bucket of their user.
    outputs: list[OutboxRecord] = field(default_factory=list)


def sort_batch(batch: Batch, read: Callable[[SourceRecord], R | Rejection], partitions: int) -> SortedBatch[R]:
    """Decode each record with `read`. The user id gives the bucket: any client's partitioner may have chosen the partition."""
    result = SortedBatch[R]()
    for record in batch.records:
        found = read(record) if (size := record_size(record)) <= MAX_RECORD_BYTES else too_large(size)
        if isinstance(found, Rejection):
            result.outputs += rejected(batch, record, found)
        elif (bucket := bucket_of(found.user_id, partitions)) != batch.partition:
            result.outputs += repartitioned(record, batch.topic, batch.partition, bucket, found.user_id).outputs
        else:
            result.valid.append((record, found))
    return result


async def drop_erased(found: SortedBatch[R], batch: Batch, erased_among: ErasedAmong) -> None:
    """Leave out what is about persons who were erased. It becomes no dead letter: that would keep it."""
    erased = await _RETRY.call(erased_among, {one.user_id: batch.partition for _, one in found.valid})
    if erased:
        kept = [entry for entry in found.valid if entry[1].user_id not in erased]
        metrics.REJECTED_RECORDS.labels(batch.topic, "erased").inc(len(found.valid) - len(kept))
        found.valid = kept


def rejected(batch: Batch, record: SourceRecord, rejection: Rejection) -> list[OutboxRecord]:
    """Count and log a record that cannot be applied. Returns its dead letter."""
    reject(batch.topic, record.offset, rejection)
    return [*dead_letter(record, batch.topic, batch.partition, rejection.reason, rejection.detail).outputs]


def too_large(size: int) -> Rejection:
    return Rejection(DeadReason.TOO_LARGE, f"key, value and headers have {size} bytes, the limit is {MAX_RECORD_BYTES}")
