"""Contacts that a region may not hold any more: after a move the old home's, and those of its standby. Values in, outputs out.

Where contacts may lie is a matter of data residency: at home, with the standby that the home's settings name, and with whoever serves the
home's people. Everybody else forgets them when its locations say, as the registry does, that the person is at home elsewhere; not before,
since until then this region may still have to notify.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import Contacts, read_contacts
from notify_streams.regions.forwarding.headers import HOPS
from notify_streams.topics import USER_CONTACTS

if TYPE_CHECKING:
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.registry.signup_decision import KnownHome
    from notify_streams.registry.user import User

#: A record that came so far is copied nowhere.
_NO_FURTHER = (HOPS, b"2")


def must_be_deleted(user: User, held: KnownHome | None, placement: Placement) -> bool:
    """Whether contacts of `user` may not be here. `held`: where this region believes them to be at home."""
    if held is None or (held.version, held.region) != (user.version, user.region):
        return False
    return placement.here not in (user.region, user.standby) and not placement.serves(user.region)


def deletion_records(row: bytes | None, partition: int) -> list[OutboxRecord]:
    """The record that empties a row of the table `contacts`, of the same age, so that whatever is newer wins; none for an empty one."""
    found = read_contacts(row)
    if isinstance(found, Rejection) or (found.push, found.sms, found.email) == (None, None, None):
        return []
    empty = msgspec.json.encode(Contacts(found.user_id, found.updated_at))
    return [(USER_CONTACTS, partition, found.user_id.encode(), empty, (_NO_FURTHER,))]
