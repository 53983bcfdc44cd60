"""A shard that refuses a bucket: MongoDB itself turns down every insert and update there, whoever sends it and whatever they believe.

In: a bucket. Out: a validator on each collection. Changing one waits until no transaction that touched the collection is open, and the
collection takes nothing new until then. Deletes and reads go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.admin.shards.init import COLLECTIONS

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase


async def refused(database: AsyncDatabase[dict[str, Any]]) -> dict[str, set[int]]:
    """The buckets that each collection refuses."""
    found = {}
    async for one in await database.list_collections(filter={"name": {"$in": list(COLLECTIONS)}}):
        condition = one["options"].get("validator", {}).get("bucket", {})
        found[one["name"]] = set(condition.get("$nin", ()))
    return found


async def refuse(database: AsyncDatabase[dict[str, Any]], bucket: int) -> None:
    """Return when no write into `bucket` can commit any more, and all that did is on a majority of the members."""
    found = await refused(database)
    for name in COLLECTIONS:
        await _write(database, name, found.get(name, set()) | {bucket})


async def accept(database: AsyncDatabase[dict[str, Any]], bucket: int) -> None:
    """Take writes into `bucket` again."""
    found = await refused(database)
    for name in COLLECTIONS:
        await _write(database, name, found.get(name, set()) - {bucket})


async def refuses(database: AsyncDatabase[dict[str, Any]], bucket: int) -> bool:
    """Whether every collection refuses `bucket`."""
    found = await refused(database)
    return all(bucket in found.get(name, ()) for name in COLLECTIONS)


async def _write(database: AsyncDatabase[dict[str, Any]], name: str, buckets: set[int]) -> None:
    validator = {"bucket": {"$nin": sorted(buckets)}} if buckets else {}
    await database.command({"collMod": name, "validator": validator, "writeConcern": {"w": "majority", "j": True}})
