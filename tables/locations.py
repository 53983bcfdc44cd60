"""`user_locations` -> every worker of a router or registry role holds all of it: user id -> where the person is at home, one small integer.

Written by the registry role and, for people at home elsewhere, by other regions' forward roles; the newest version wins, in whatever order
they come. Equal rows are one object (`regions.locations`), so a person weighs their key and a dictionary entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.app import app
from notify_streams.regions.locations import Rows
from notify_streams.topics import USER_LOCATIONS
from notify_streams.transport import ReplicatedTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.regions.locations import Location

rows = Rows(app.settings.regions)
locations: ReplicatedTable = ReplicatedTable(
    app, USER_LOCATIONS, decode=rows.newest(lambda user_id: locations.get(user_id))
)


def locate(user_id: str) -> Location | None:
    """Where this region believes a person to be at home; None for somebody whom nobody knows."""
    row = locations.get(user_id)
    return None if row is None else rows.unpack(row)


def locate_many(user_ids: Sequence[str]) -> list[Location | None]:
    """`locate` for each, in order."""
    return [None if row is None else rows.unpack(row) for row in locations.get_many(user_ids)]


app.locate = locate
