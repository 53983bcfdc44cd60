"""`user_locations` -> every worker of a router role holds all of it: user id -> home region and bucket.

Written by the registry role and, for people at home elsewhere, by other regions' forward roles. A row is one shared `Home` for everybody of
the same region and bucket, so it weighs its key and a dictionary entry.
"""

from __future__ import annotations

from functools import cache

from notify_streams.app import app
from notify_streams.records.trigger import Rejection
from notify_streams.records.users import read_location
from notify_streams.routing.router import Home
from notify_streams.topics import USER_LOCATIONS
from notify_streams.transport import ReplicatedTable

_shared = cache(Home)


def _row(key: bytes, value: bytes | None, partition: int) -> tuple[str, Home | None] | None:
    user_id = key.decode("utf-8", "replace")
    if value is None:
        return user_id, None
    location = read_location(value)
    if isinstance(location, Rejection):
        return None
    return user_id, _shared(location.region, partition)


locations = ReplicatedTable(app, USER_LOCATIONS, decode=_row)
