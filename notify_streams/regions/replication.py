"""Which other regions must learn of a change to a person's preferences or contacts, and how it travels. Values in, outputs out.

Preferences go everywhere, so that any region can stand in at once. Contacts go to the person's home and to the standby that the
home's settings name, nowhere else: where they may lie is a matter of data residency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.regions.forwarding.headers import forwarded_headers, read_forwarding_headers
from notify_streams.topics import PREFERENCE_UPDATES, USER_CONTACTS, forward_topic

if TYPE_CHECKING:
    from notify_streams.records.batch import OutboxRecord, SourceRecord
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.settings import Settings


def preference_copies(record: SourceRecord, partition: int, settings: Settings) -> list[OutboxRecord]:
    """Copies of a preference update for every other region; none if it came from one, which has sent it everywhere itself."""
    if read_forwarding_headers(record.headers).hops:
        return []
    others = [region for region in settings.regions if region != settings.region]
    return [_copy(record, partition, settings.region, PREFERENCE_UPDATES, region) for region in others]


def contact_copies(
    record: SourceRecord, partition: int, settings: Settings, home: str | None, placement: Placement
) -> list[OutboxRecord]:
    """Copies of a contacts record: to the home if this is another region, from the home to its standby, and no further.

    While another region serves the home's people, what enters elsewhere goes to both, and what enters there goes home.

    Args:
        home: the person's home region; None while nobody knows them: the record stays here until the person is known.
    """
    here = settings.region
    travel = read_forwarding_headers(record.headers)
    if home is None:
        return []
    if home == here:
        wanted = {settings.standby} - {travel.origin} if travel.hops < 2 else set()
    elif travel.hops:
        wanted = set()
    else:
        wanted = {home, placement.server_of(home)}
    return [
        _copy(record, partition, here, USER_CONTACTS, region)
        for region in sorted(wanted - {here, None}, key=str)
        if region
    ]


def may_hold_contacts(settings: Settings, home: str | None, placement: Placement, hops: int) -> bool:
    """Whether this region may hold a person's contacts: their home, whoever serves them, and a standby that was sent them."""
    return home is None or home == settings.region or placement.serves(home) or hops > 0


def _copy(record: SourceRecord, partition: int, here: str, target: str, region: str) -> OutboxRecord:
    headers = forwarded_headers(record.headers, here, target)
    return forward_topic(region), partition, record.key, record.value or b"", headers
