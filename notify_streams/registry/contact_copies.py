"""Copies of contacts for other regions, from records and from table rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import read_contacts, read_signup
from notify_streams.regions.replication import contact_copies

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.records.batch import Batch, Headers, OutboxRecord
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.registry.pending_signups import PendingSignups
    from notify_streams.settings import Settings


class _Row(NamedTuple):
    """A row of the table `contacts`, as the record that it came from; without that record's forwarding headers."""

    key: bytes
    value: bytes
    headers: Headers = ()
    offset: int = 0
    timestamp: int = 0


def copies_of_records(
    batch: Batch, home_of: Callable[[str], str | None], placement: Placement, settings: Settings
) -> list[OutboxRecord]:
    """Copies of the batch's contacts records. A user whose home is unknown gets none: `copies_at_signup` makes them later."""
    return [
        copy
        for record in batch.records
        if not isinstance(contacts := read_contacts(record.value), Rejection)
        for copy in contact_copies(record, batch.partition, settings, home_of(contacts.user_id), placement)
    ]


def copies_at_signup(
    batch: Batch,
    pending: PendingSignups,
    row_of: Callable[[int, bytes], bytes | None],
    placement: Placement,
    settings: Settings,
) -> list[OutboxRecord]:
    """Add the batch's sign-ups to `pending`; copies of contacts that arrived before them, when the home was unknown.

    Args:
        row_of: the row of the table `contacts` of a bucket and key.
    """
    copies: list[OutboxRecord] = []
    for record in batch.records:
        signup = read_signup(record.value)
        if isinstance(signup, Rejection):
            continue
        pending.add(signup)
        key = signup.user_id.encode()
        row = row_of(batch.partition, key)
        if row is not None:
            home = pending.home(signup.user_id)
            copies += contact_copies(_Row(key, row), batch.partition, settings, home, placement)
    return copies
