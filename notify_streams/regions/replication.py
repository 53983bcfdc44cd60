"""Copies of preference updates, erasures and contacts for other regions.

Preferences and erasures go to every region, so that any region can serve any user. Contacts go to the user's home region and to the
standby that the home's settings name, and to no other region, because of data residency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.regions.forwarding.headers import forwarded_headers, read_forwarding_headers
from notify_streams.topics import USER_CONTACTS, forward_topic

if TYPE_CHECKING:
    from notify_streams.records.batch import Headers, OutboxRecord, SourceRecord
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.settings import Settings


def copies_everywhere(
    record: SourceRecord, value: bytes, partition: int, settings: Settings, topic: str, headers: Headers | None = None
) -> list[OutboxRecord]:
    """Copies of a record of `topic` for every other region; none for a forwarded one, which its origin has copied to all regions.

    Args:
        value: the record as it was read here, so that it has one time in all regions.
        headers: instead of the record's own.
    """
    if read_forwarding_headers(record.headers).hops:
        return []
    others = [region for region in settings.regions if region != settings.region]
    own = record.headers if headers is None else headers
    return [_copy(record, own, value, partition, settings.region, topic, region) for region in others]


def contact_copies(
    record: SourceRecord, value: bytes, partition: int, settings: Settings, home: str | None, placement: Placement
) -> list[OutboxRecord]:
    """Copies of a contacts record: from another region to the home region, from the home region to its standby.

    While another region serves the home region's users, a record that enters in a third region goes to both. A third region that does not
    know of a move yet sends the record to the previous home region, which sends it on.

    Args:
        value: the contacts as they were read here, so that they have one time in all regions.
        home: the user's home region; None if it is unknown: no copies now, `registry.contact_copies` makes them at the sign-up.
    """
    here = settings.region
    headers = read_forwarding_headers(record.headers)
    targets: set[str | None] = set()
    if home == here:
        if headers.hops < 2:
            targets = {settings.standby} - {headers.origin}
    elif home is not None and headers.hops < 2 and headers.origin != home:
        targets = {home, placement.server_of(home)} - {headers.origin}
    return [
        _copy(record, record.headers, value, partition, here, USER_CONTACTS, region)
        for region in sorted(region for region in targets if region and region != here)
    ]


def may_hold_contacts(settings: Settings, home: str | None, placement: Placement, hops: int) -> bool:
    """Whether this region may store a user's contacts: as home, as the serving region, or because another region forwarded them."""
    return home is None or home == settings.region or placement.serves(home) or hops > 0


def _copy(
    record: SourceRecord, own: Headers, value: bytes, partition: int, here: str, target: str, region: str
) -> OutboxRecord:
    return forward_topic(region), partition, record.key, value, forwarded_headers(own, here, target)
