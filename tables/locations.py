"""Replicated table of `user_locations`: user id → home region, bucket.

Every worker of a router or registry role holds all of it. Written by the registry role, and by other regions' forward roles for users at
home there; the newest version wins in any order. Equal rows are one object (`regions.locations`), so a user costs a key and a dictionary
entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.app import app
from notify_streams.regions.locations import LocationCodec
from notify_streams.regions.recent_users import RecentUsers
from notify_streams.topics import USER_LOCATIONS
from notify_streams.transport import ReplicatedTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.regions.locations import Location

rows = LocationCodec(app.settings.regions, app.settings.partitions)
recent_users = RecentUsers()
_newest = rows.newest(lambda user_id: locations.get(user_id))


def _decode(key: bytes, value: bytes | None, partition: int) -> tuple[str, int] | None:
    found = _newest(key, value, partition)
    if found is not None and value is not None and locations.has_caught_up and locations.get(found[0]) is None:
        recent_users.add(found[0])
    return found


locations: ReplicatedTable = ReplicatedTable(app, USER_LOCATIONS, decode=_decode)


def locate(user_id: str) -> Location | None:
    """A user's location as this region knows it; None for an unknown user."""
    row = locations.get(user_id)
    return None if row is None else rows.unpack(row)


def locate_many(user_ids: Sequence[str]) -> list[Location | None]:
    """`locate` for each, in order."""
    return [None if row is None else rows.unpack(row) for row in locations.get_many(user_ids)]


def home_of(user_id: str) -> str | None:
    """A user's home region; None for an unknown user."""
    location = locate(user_id)
    return None if location is None else location.region


app.locate = locate
