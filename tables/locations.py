"""Table of `user_locations`: bucket, user id → home region.

A router has the locations of its buckets: a user that it does not find is either unknown or in another bucket, which the hash of the
user id tells. Workers of the registry role and those that answer requests have all. Written by the registry role, and by other regions'
forward roles for users at home there; the newest version wins in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.app import app
from notify_streams.records.partitioner import bucket_of
from notify_streams.regions.locations import LocationCodec
from notify_streams.regions.recent_users import RECENT_S, RecentUsers
from notify_streams.roles import LANES
from notify_streams.topics import USER_LOCATIONS
from notify_streams.transport import PartitionedTable, ReplicatedTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.regions.locations import Location
    from notify_streams.transport import Record

rows = LocationCodec(app.settings.regions, app.settings.partitions)
recent_users = RecentUsers()
#: The bucket whose shard tells the time.
_CLOCK_OF: Final = 0
_newest = rows.newest(lambda bucket, user_id: locations.get(bucket, user_id))


def _note_recent(records: Sequence[Record]) -> None:
    """The users of the last minute, by the broker's clock; the records of one partition are in its order."""
    # With a clock that is ahead no user would be recent, and who has just signed up would have no contact.
    now_ms = app.earlier_now(_CLOCK_OF).timestamp() * 1000
    if not records or records[-1].timestamp < now_ms - RECENT_S * 1000:
        return
    for record in records:
        if record.key is not None and record.value is not None:
            recent_users.add(record.key.decode(errors="replace"), max(0.0, (now_ms - record.timestamp) / 1000))


locations: PartitionedTable | ReplicatedTable = (
    PartitionedTable(
        app, USER_LOCATIONS, store=app.table_store(USER_LOCATIONS), decode=_newest, on_records=_note_recent
    )
    if app.role in LANES
    else ReplicatedTable(app, USER_LOCATIONS, store=app.table_store(USER_LOCATIONS), decode=_newest)
)


def locate(user_id: str) -> Location | None:
    """A user's location as this region knows it; None for an unknown user, and on a router for one of another worker's buckets."""
    row = locations.get(bucket_of(user_id, app.settings.partitions), user_id.encode())
    return None if row is None else rows.unpack(row)


def locate_in(bucket: int, user_ids: Sequence[bytes]) -> list[Location | None]:
    """The locations of users in one bucket, in order; None for an unknown user, and for one of another bucket."""
    return [None if row is None else rows.unpack(row) for row in locations.get_many(bucket, user_ids)]


app.locate = locate
