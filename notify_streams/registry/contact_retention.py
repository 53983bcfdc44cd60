"""Which regions must delete a user's contacts after a move.

Because of data residency only the home region, the standby that its settings name, and the region that serves the home region's users
may hold contacts. The others delete them once their locations, like the registry, show the new home; not before, since until then
the region may still have to notify the user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.records.user_records import Contacts, encode_record
from notify_streams.regions.forwarding.headers import HOPS, ORIGIN
from notify_streams.topics import USER_CONTACTS

if TYPE_CHECKING:
    from notify_streams.records.batch import Headers, OutboxRecord
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.registry.signup_decision import KnownHome
    from notify_streams.registry.user import User

#: A record with two hops is copied to no other region.
_NOT_COPIED = (HOPS, b"2")


def must_be_deleted(user: User, location: KnownHome | None, placement: Placement) -> bool:
    """Whether this region must delete the contacts of `user`. `location`: the home region according to this region's locations."""
    if location is None or (location.version, location.region) != (user.version, user.region):
        return False
    return placement.here not in (user.region, user.standby) and not placement.serves(user.region)


def deletion_records(contacts: Contacts | None, partition: int) -> list[OutboxRecord]:
    """The record that removes stored contacts; none if there are none. It keeps the time, so newer contacts win."""
    if contacts is None or contacts == (empty := Contacts(contacts.user_id, contacts.updated_at)):
        return []
    return [(USER_CONTACTS, partition, contacts.user_id.encode(), encode_record(empty), (_NOT_COPIED,))]


def is_out_of_date(contacts: Contacts, headers: Headers, home: str | None, placement: Placement) -> bool:
    """Whether this is a deletion (`deletion_records`) of a user who has come back to this region since.

    It may have the time of the contacts that came along, and would remove them.
    """
    if (
        not headers or _NOT_COPIED not in headers or any(name == ORIGIN for name, _ in headers)
    ):  # a forwarded record names its origin
        return False
    is_empty = contacts == Contacts(contacts.user_id, contacts.updated_at)
    return is_empty and home is not None and (home == placement.here or placement.serves(home))
