"""Sign-ups in the ledger's terms: registered or passed on is `notified`, stale is `duplicate`, unusable is `dead`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.records.outcomes import DeadReason, TriggerOutcome
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import MOST_BYTES, read_signup
from notify_streams.registry.signup_decision import SignupIgnored
from notify_streams.registry.signups import ReceivedSignup
from notify_streams.retry import STORE
from notify_streams.routing.outcome_records import bytes_of, dead

if TYPE_CHECKING:
    from notify_streams.records.batch import AckHandle, Batch
    from notify_streams.registry.signups import SignupProcessor

_DEAD = {SignupIgnored.TOO_MANY_HOPS: DeadReason.TOO_MANY_HOPS, SignupIgnored.UNKNOWN_REGION: DeadReason.INVALID}


async def decide_signup_batch(signups: SignupProcessor, batch: Batch, delivered: AckHandle) -> DecidedBatch:
    """Register a batch, for as long as the registry takes, and say what became of each record."""
    entries: list[RecordOutcome] = []
    asked: list[ReceivedSignup] = []
    places: list[int] = []
    for record in batch.records:
        found = read_signup(record.value)
        if (size := bytes_of(record)) > 2 * MOST_BYTES:  # its headers travel on with it
            found = Rejection(DeadReason.TOO_LARGE, f"key, value and headers have {size} bytes")
        if isinstance(found, Rejection):
            entries.append(dead(record, batch.topic, batch.partition, found.reason, found.detail))
            continue
        places.append(len(entries))
        asked.append(ReceivedSignup(found, record.value or b"", record.headers))
        entries.append(RecordOutcome(TriggerOutcome.NOTIFIED, record))
    done = await STORE.call(signups.register, batch.partition, asked)
    for at, why in done.dropped:
        record = entries[places[at]].record
        if why is SignupIgnored.STALE:
            entries[places[at]] = RecordOutcome(TriggerOutcome.DUPLICATE, record)
        else:
            entries[places[at]] = dead(record, batch.topic, batch.partition, _DEAD[why], why.value)
    if done.outputs:
        first = entries[places[0]]
        first.outputs = (*first.outputs, *done.outputs)
    return DecidedBatch(batch.topic, batch.partition, batch.start, batch.end, entries, 0, delivered)
