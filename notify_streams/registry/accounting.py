"""Sign-ups in the ledger's terms: registered or passed on is `notified`, stale is `duplicate`, unusable is `dead`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.outbox.taken import Entry, Taken
from notify_streams.records.reasons import DeadReason, Outcome
from notify_streams.records.trigger import Rejection
from notify_streams.records.users import MOST_BYTES, read_signup
from notify_streams.registry.placing import Dropped
from notify_streams.registry.signups import Asked
from notify_streams.routing.entries import bytes_of, dead
from notify_streams.stores.insist import insist

if TYPE_CHECKING:
    from notify_streams.outbox.taken import Delivered
    from notify_streams.registry.signups import Signups
    from notify_streams.routing.router import Batch

_DEAD = {Dropped.TOO_MANY_HOPS: DeadReason.TOO_MANY_HOPS, Dropped.UNKNOWN_REGION: DeadReason.INVALID}


async def account_signups(signups: Signups, batch: Batch, delivered: Delivered) -> Taken:
    """Register a batch, for as long as the registry takes, and say what became of each record."""
    entries: list[Entry] = []
    asked: list[Asked] = []
    places: list[int] = []
    for record in batch.records:
        found = read_signup(record.value)
        if (size := bytes_of(record)) > 2 * MOST_BYTES:  # its headers travel on with it
            found = Rejection(DeadReason.TOO_LARGE, f"key, value and headers have {size} bytes")
        if isinstance(found, Rejection):
            entries.append(dead(record, batch.topic, batch.partition, found.reason, found.detail))
            continue
        places.append(len(entries))
        asked.append(Asked(found, record.value or b"", record.headers))
        entries.append(Entry(Outcome.NOTIFIED, record))
    done = await insist(signups.register, batch.partition, asked)
    for at, why in done.dropped:
        record = entries[places[at]].record
        if why is Dropped.STALE:
            entries[places[at]] = Entry(Outcome.DUPLICATE, record)
        else:
            entries[places[at]] = dead(record, batch.topic, batch.partition, _DEAD[why], why.value)
    if done.outputs:
        first = entries[places[0]]
        first.outputs = (*first.outputs, *done.outputs)
    return Taken(batch.topic, batch.partition, batch.start, batch.end, entries, 0, delivered)
