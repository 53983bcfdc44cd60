"""Which shard holds a bucket, after `notify-streams shards move`.

Each shard stores the directory entries that it knows: ``{_id: bucket, to: shard, at: date}``. A bucket without an entry is where the
settings (`bucket_shards`) put it. Workers poll the entries and use a shard only while its entries were read within the last `lease_s`. So a
mover that has written the new entry and waits that long knows that no worker uses the old shard any more. With the entries they read how
many buckets there are (`partition_count`): while the region grows, and with settings that say another number, they use no shard.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from notify_streams import tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.stores.partition_count import PARTITIONS, THE_COUNT, PartitionCount, partition_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.database import AsyncDatabase

    Database = AsyncDatabase[dict[str, Any]]

MOVED: Final = "moved"
#: How long entries that were read are valid. Workers and the mover must use the same value.
LEASE_S: Final = 5.0
_POLLS_PER_LEASE: Final = 3
#: The entries, and the document of the partition count, in one round trip.
_READ: Final = [{"$unionWith": {"coll": PARTITIONS, "pipeline": [{"$match": THE_COUNT}]}}]


class BucketDirectory:
    """The entries of every shard, as they were read last."""

    def __init__(
        self,
        initial_shard_of: Callable[[int], int],
        database: Callable[[int], Database],
        addresses: Sequence[str],
        lease_s: float,
        timeout_s: float,
        partitions: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`initial_shard_of`: bucket → its shard by the settings. `database`: shard → its database. `addresses`: for messages. `partitions`: by
        the settings."""
        self._initial_shard_of = initial_shard_of
        self._database = database
        self._lease_s = lease_s
        self._timeout_s = timeout_s
        self._partitions = partitions
        self._now = now
        self._addresses = addresses
        self._entries: list[dict[int, int]] = [{} for _ in addresses]
        self._counts: list[PartitionCount | None] = [None] * len(addresses)
        self._read_at_s: list[float | None] = [None] * len(addresses)
        self._polling: list[asyncio.Task[None]] = []

    def shard_of(self, bucket: int) -> int:
        """The index of the shard that holds `bucket`."""
        shard = self._initial_shard_of(bucket)
        for _ in self._entries:  # bounded: entries that were read at different times may form a circle
            shard = self._entries[shard].get(bucket, shard)
        return shard

    def problem(self) -> str | None:
        """Why no shard may be used with these settings; None if they may (`PartitionCount.problem`)."""
        problems = (count.problem(self._partitions) for count in self._counts if count is not None)
        return next(filter(None, problems), None)

    def is_counted(self) -> bool:
        """Whether a shard says how many buckets there are: `shards init` was run, by a release that stores it."""
        return any(count is not None for count in self._counts)

    def former_counts(self) -> tuple[int, ...]:
        """How many buckets there were before the region grew, the last number first."""
        return next((count.former for count in self._counts if count is not None), ())

    def former_buckets(self, bucket: int) -> list[int]:
        """The buckets that the people of `bucket` were in before the region grew, the last one first."""
        return next((count.former_buckets(bucket) for count in self._counts if count is not None), [])

    def check_lease(self, shard: int) -> None:
        """Check that the entries of `shard` are valid.

        Raises:
            StoreUnavailable: they were not read within the last `lease_s`, or the region has another number of buckets.
        """
        if (problem := self.problem()) is not None:
            raise StoreUnavailable(problem)
        if shard in self.expired():
            raise StoreUnavailable(f"the bucket directory of shard {shard} was not read within {self._lease_s:g} s")

    def expired(self) -> list[int]:
        """The shards whose entries were not read within the last `lease_s`: they do not answer, and are not used."""
        since_s = self._now() - self._lease_s
        return [shard for shard, read_at_s in enumerate(self._read_at_s) if read_at_s is None or read_at_s < since_s]

    async def refresh(self, *, require_all: bool = False) -> None:
        """Read the entries of every shard.

        Raises:
            StoreUnavailable: with `require_all`, if a shard does not answer; without, such a shard is skipped.
        """
        read = self._read if require_all else self._try_read
        await asyncio.gather(*(read(shard) for shard in range(len(self._entries))))

    async def start_polling(self) -> None:
        """Read the entries once, then keep reading them in the background."""
        await self.refresh()
        self._polling = [
            asyncio.create_task(tasks.keep_running(f"bucket directory of shard {shard}", partial(self._poll, shard)))
            for shard in range(len(self._entries))
        ]

    async def stop_polling(self) -> None:
        polling, self._polling = self._polling, []
        await tasks.stop(polling)

    async def _poll(self, shard: int) -> None:
        while True:
            await asyncio.sleep(self._lease_s / _POLLS_PER_LEASE)
            await self._try_read(shard)

    async def _try_read(self, shard: int) -> None:
        with suppress(StoreUnavailable):
            await self._read(shard)

    async def _read(self, shard: int) -> None:
        started_s = self._now()
        with mongo_call(f"read bucket directory of shard {shard} at {self._addresses[shard]}", self._timeout_s):
            found = await (await self._database(shard)[MOVED].aggregate(_READ)).to_list()
        documents = {one["_id"]: one for one in found}
        self._counts[shard] = partition_count(documents.pop(THE_COUNT["_id"], None))
        self._entries[shard] = {bucket: entry["to"] for bucket, entry in documents.items()}
        self._read_at_s[shard] = started_s


async def write_entry(database: Database, bucket: int, to: int, session: AsyncClientSession) -> None:
    """Make a shard's entry say that `bucket` is on shard `to`."""
    change = {"$set": {"to": to}, "$currentDate": {"at": True}}
    await database[MOVED].update_one({"_id": bucket}, change, upsert=True, session=session)


async def has_entry(database: Database, bucket: int) -> bool:
    return await database[MOVED].find_one({"_id": bucket}) is not None


async def moved_away(database: Database, shard: int) -> set[int]:
    """The buckets that `shard`'s entries place on other shards."""
    return {entry["_id"] async for entry in database[MOVED].find({"to": {"$ne": shard}})}
