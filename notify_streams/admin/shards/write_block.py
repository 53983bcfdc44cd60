"""Blocks writes to a bucket on one shard by collection validators.

MongoDB then refuses every insert and update of the bucket, whatever shard its writer believes in; reads and deletes go on. `collMod` waits
until no open transaction has touched the collection and holds back new operations meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.admin.shards.init import COLLECTIONS

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

    Database = AsyncDatabase[dict[str, Any]]


async def blocked_buckets(database: Database) -> dict[str, set[int]]:
    """Collection → the buckets that are blocked in it."""
    blocked: dict[str, set[int]] = {name: set() for name in COLLECTIONS}
    async for collection in await database.list_collections(filter={"name": {"$in": list(COLLECTIONS)}}):
        validator = collection["options"].get("validator", {})
        blocked[collection["name"]] = set(validator.get("bucket", {}).get("$nin", ()))
    return blocked


async def block_writes(database: Database, bucket: int) -> None:
    """Return when no write to `bucket` can commit any more, and a majority of the members has all that were committed."""
    for name, buckets in (await blocked_buckets(database)).items():
        await _set_blocked(database, name, buckets | {bucket})


async def allow_writes(database: Database, bucket: int) -> None:
    """Undo `block_writes`."""
    for name, buckets in (await blocked_buckets(database)).items():
        await _set_blocked(database, name, buckets - {bucket})


async def is_blocked(database: Database, bucket: int) -> bool:
    """Whether `bucket` is blocked in every collection."""
    return all(bucket in buckets for buckets in (await blocked_buckets(database)).values())


async def _set_blocked(database: Database, name: str, buckets: set[int]) -> None:
    validator = {"bucket": {"$nin": sorted(buckets)}} if buckets else {}
    await database.command({"collMod": name, "validator": validator, "writeConcern": {"w": "majority", "j": True}})
