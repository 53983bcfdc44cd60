"""Registers a batch of sign-ups and returns the record outcomes for the outbox.

Registered or forwarded is `notified`, stale is `duplicate`, invalid is `dead_letter`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.records.batch import record_size
from notify_streams.records.outcomes import DeadReason, TriggerOutcome
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import MAX_BYTES, arrival_ms, read_signup
from notify_streams.registry.signup_decision import SignupIgnored
from notify_streams.registry.signups import ReceivedSignup
from notify_streams.retry import RetryPolicy, call_for_each
from notify_streams.routing.outcome_records import dead_letter, repartitioned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.batch import AckHandle, Batch, OutboxRecord
    from notify_streams.registry.signups import SignupProcessor

_RETRY: Final = RetryPolicy("registry.register", first_s=0.05, max_s=2.0, max_unknown_s=30.0)
_DEAD: Final = {
    SignupIgnored.TOO_MANY_HOPS: DeadReason.TOO_MANY_HOPS,
    SignupIgnored.UNKNOWN_REGION: DeadReason.INVALID,
    SignupIgnored.REFUSED: DeadReason.INVALID,
    SignupIgnored.BAD_RECORD: DeadReason.BAD_RECORD,
}


async def decide_signup_batch(processor: SignupProcessor, batch: Batch, ack_handle: AckHandle) -> DecidedBatch:
    """Register a batch, retried without limit while the registry does not answer, and return the outcome of each record.

    The user id gives the bucket: a record in another partition is published again in the right one.
    """
    outcomes: list[RecordOutcome] = []
    received: list[ReceivedSignup] = []
    #: For each of `received` its index in `outcomes`.
    indexes: list[int] = []
    now_ms = int(time.time() * 1000)
    for record in batch.records:
        signup = read_signup(record.value, arrival_ms(record, now_ms))
        if (size := record_size(record)) > 2 * MAX_BYTES:  # its headers are forwarded with it
            signup = Rejection(DeadReason.TOO_LARGE, f"key, value and headers have {size} bytes")
        if isinstance(signup, Rejection):
            outcomes.append(dead_letter(record, batch.topic, batch.partition, signup.reason, signup.detail))
            continue
        if (bucket := bucket_of(signup.user_id, processor.partitions)) != batch.partition:
            outcomes.append(repartitioned(record, batch.topic, batch.partition, bucket, signup.user_id))
            continue
        indexes.append(len(outcomes))
        received.append(ReceivedSignup(signup, record.headers))
        outcomes.append(RecordOutcome(TriggerOutcome.NOTIFIED, record))
    outputs: list[OutboxRecord] = []
    ignored: list[tuple[int, SignupIgnored]] = []

    async def register(numbers: Sequence[int]) -> None:
        part = await processor.register(batch.partition, [received[number] for number in numbers])
        outputs.extend(part.outputs)
        ignored.extend((numbers[number], reason) for number, reason in part.ignored)

    def refuse(number: int) -> None:
        ignored.append((number, SignupIgnored.BAD_RECORD))

    await call_for_each(_RETRY, register, range(len(received)), refuse)
    for number, reason in ignored:
        index = indexes[number]
        record = outcomes[index].record
        if reason in (SignupIgnored.STALE, SignupIgnored.ERASED):
            outcomes[index] = RecordOutcome(TriggerOutcome.DUPLICATE, record)
        else:
            outcomes[index] = dead_letter(record, batch.topic, batch.partition, _DEAD[reason], reason.value)
    if outputs:
        first = outcomes[indexes[0]]
        first.outputs = (*first.outputs, *outputs)
    return DecidedBatch(batch.topic, batch.partition, batch.start, batch.end, outcomes, 0, ack_handle, lost=batch.lost)
