"""Since when a region has all of its notifications.

A longer time to live brings none back that a shorter one has deleted. So each shard whose time to live became longer has the document
``{_id: "notifications", all_since}`` in the collection `partitions`: those of periods that end later were not deleted by the shorter one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Final

from notify_streams.records.person_slots import KEPT_FROM
from notify_streams.stores.mongo import NOTIFICATIONS
from notify_streams.stores.partition_count import PARTITIONS

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

    Database = AsyncDatabase[dict[str, Any]]

_ALL_SINCE: Final = {"_id": "notifications"}
#: In this time the longer one is in force.
_MARGIN: Final = timedelta(minutes=10)


async def expiry_becomes_longer(database: Database, before_s: float, now: datetime) -> None:
    """Call before the time to live of the notifications, `before_s` so far, becomes longer. `now`: by the clock of the shard.

    Raises:
        PyMongoError
    """
    all_since = now - timedelta(seconds=before_s) + _MARGIN
    await database[PARTITIONS].update_one(_ALL_SINCE, {"$max": {"all_since": all_since}}, upsert=True)


async def all_since(database: Database) -> float:
    """A shorter time to live has deleted no notification of a period that ends later (Unix seconds); minus infinity: none at all.

    Raises:
        PyMongoError
    """
    found = await database[PARTITIONS].find_one(_ALL_SINCE)
    return -inf if found is None else float(found["all_since"].timestamp())


async def time_to_live_s(database: Database) -> float:
    """So long a shard keeps notifications now; infinite without an expiry.

    Raises:
        PyMongoError
    """
    indexes = await database[NOTIFICATIONS].index_information()
    found = [one for one in indexes.values() if [field for field, _ in one["key"]] == [KEPT_FROM]]
    return min((float(one.get("expireAfterSeconds", inf)) for one in found), default=inf)
