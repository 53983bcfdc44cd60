"""Copies of contacts that arrived before their user's sign-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from notify_streams.records.user_records import encode_record
from notify_streams.regions.replication import contact_copies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from notify_streams.records.batch import Headers, OutboxRecord
    from notify_streams.records.user_records import Contacts
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.settings import Settings


class _Record(NamedTuple):
    """Stored contacts as a record of `user_contacts`; without forwarding headers."""

    key: bytes
    value: bytes
    headers: Headers = ()
    offset: int = 0
    timestamp: int = 0


def copies_at_signup(
    stored: Iterable[Contacts],
    partition: int,
    home_of: Callable[[str], str | None],
    placement: Placement,
    settings: Settings,
) -> list[OutboxRecord]:
    """Copies of the contacts that are stored for users who sign up now, for the regions that must hold them."""
    copies: list[OutboxRecord] = []
    for contacts in stored:
        record = _Record(contacts.user_id.encode(), encode_record(contacts))
        copies += contact_copies(record, record.value, partition, settings, home_of(contacts.user_id), placement)
    return copies
