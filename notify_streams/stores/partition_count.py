"""How many buckets a region has, by its database.

Settings that say another number would look for people in the wrong place. Each shard has the document ``{_id, count, former: [count],
growth: {to, …}}`` in the collection `partitions`. `shards init` writes it at the region's birth, and only `topics grow` changes it: `growth`
is there while it works, `former` are the counts before, the last one first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.asynchronous.database import AsyncDatabase

    Database = AsyncDatabase[dict[str, Any]]

PARTITIONS: Final = "partitions"
THE_COUNT: Final = {"_id": "partitions"}


@dataclass(frozen=True, slots=True)
class PartitionCount:
    """What one shard knows."""

    count: int
    former: tuple[int, ...] = ()
    #: The count after the growth that has not ended; None: there is none.
    grows_to: int | None = None

    def problem(self, partitions: int) -> str | None:
        """Why a process whose settings say `partitions` must not use the region's data; None if it may."""
        if self.grows_to is not None:
            return (
                f"the region is growing from {self.count} to {self.grows_to} partitions: run `notify-streams topics grow "
                f"--partitions {self.grows_to}` to its end"
            )
        if self.count == partitions:
            return None
        change = (
            f", or stop the workers and run `notify-streams topics grow --partitions {partitions}`"
            if partitions > self.count
            else ""
        )
        return f"the region has {self.count} partitions, the settings say {partitions}: set `partitions: {self.count}`{change}"

    def former_buckets(self, bucket: int) -> list[int]:
        """The buckets that the people of `bucket` were in before the region grew, the last one first."""
        found = dict.fromkeys(bucket % count for count in self.former)
        found.pop(bucket, None)
        return list(found)


async def read_partition_count(database: Database) -> PartitionCount | None:
    """The count of one shard; None before `shards init`.

    Raises:
        PyMongoError
    """
    return partition_count(await database[PARTITIONS].find_one(THE_COUNT))


def partition_count(document: Mapping[str, Any] | None) -> PartitionCount | None:
    """What a shard's document says; None without one."""
    if document is None:
        return None
    growth = document.get("growth")
    return PartitionCount(document["count"], tuple(document["former"]), None if growth is None else growth["to"])


async def write_first_count(database: Database, partitions: int) -> PartitionCount:
    """Store the count of a new region; that of a region that has one stays. Returns what is stored.

    Raises:
        PyMongoError
    """
    await database[PARTITIONS].update_one(THE_COUNT, {"$setOnInsert": {"count": partitions, "former": []}}, upsert=True)
    return await read_partition_count(database) or PartitionCount(partitions)
