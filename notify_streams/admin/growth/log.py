"""The durable record of a growth.

Field `growth` of the documents in `partitions` (`stores.partition_count`):
``{to, began_at, done: [step], after: {collection: id}, run}``. That of the first shard has the steps that are done, and which call of the
command makes them (`run`): a later call takes over, and the earlier one stops at its next step. That of each shard says which of its
documents have been looked at. As long as it is there, no worker uses the shard.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from notify_streams.errors import Refused
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.stores.partition_count import PARTITIONS, THE_COUNT, read_partition_count, write_first_count

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.stores.mongo import Document, Shards
    from notify_streams.stores.partition_count import PartitionCount

_FIRST: Final = 0
_ANOTHER: Final = "another `notify-streams topics grow` has begun, taken over, or ended: run one at a time"


class GrowthLog:
    """Reads and writes it. Every method raises `StoreUnavailable` if a shard does not answer; call it again."""

    def __init__(self, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s
        self._run = secrets.token_hex(8)

    async def count(self) -> PartitionCount | None:
        """What the first shard says: it is the first to know of a growth, and the last one that ends it."""
        with mongo_call("read the number of partitions", self._timeout_s):
            return await read_partition_count(self._shards.database(_FIRST))

    async def begin(self, before: int, to: int) -> None:
        """From now on no worker that starts uses a shard, and those that run do not after the directory's lease.

        Raises:
            Refused: another call has begun one since; nothing was changed.
        """
        growth = {"to": to, "began_at": datetime.now(UTC), "done": [], "after": {}, "run": self._run}
        for shard in range(len(self._shards)):
            with mongo_call("begin to grow", self._timeout_s):
                await write_first_count(self._shards.database(shard), before)
            without_one = {"growth": {"$exists": False}} if shard == _FIRST else {}
            await self._update(shard, without_one, {"$set": {"growth": growth}})

    async def go_on(self, to: int) -> None:
        """Go on with the growth to `to`; the call that was making it, if it still does, stops at its next step.

        Raises:
            Refused: there is none any more.
        """
        await self._update(_FIRST, {"growth.to": to}, {"$set": {"growth.run": self._run}})

    async def withdraw(self) -> None:
        """Nothing was changed: workers may start again.

        Raises:
            Refused: another call has made a step since.
        """
        if await self.done():
            raise Refused(_ANOTHER)
        for shard in reversed(range(len(self._shards))):
            with mongo_call("withdraw a growth", self._timeout_s):
                await self._collection(shard).update_one(THE_COUNT | {"growth.done": []}, {"$unset": {"growth": ""}})

    async def finish(self, before: int, to: int) -> None:
        """The region has `to` partitions."""
        change = {
            "$set": {"count": to},
            "$push": {"former": {"$each": [before], "$position": 0}},
            "$unset": {"growth": ""},
        }
        for shard in reversed(range(len(self._shards))):
            with mongo_call("end a growth", self._timeout_s):
                await self._collection(shard).update_one(THE_COUNT | {"growth.to": to}, change)

    async def done(self) -> set[str]:
        """The steps that are complete."""
        return set((await self._growth(_FIRST)).get("done", ()))

    async def mark_done(self, step: str) -> None:
        """Raises:
        Refused: another call has taken over, or ended the growth.
        """
        await self._update(_FIRST, {"growth.run": self._run}, {"$addToSet": {"growth.done": step}})

    async def position(self, shard: int, collection: str) -> str:
        """The id of the last document of a collection that was looked at; empty at the beginning."""
        return str((await self._growth(shard)).get("after", {}).get(collection, ""))

    async def move_position(self, shard: int, collection: str, identity: str) -> None:
        """Raises:
        Refused: the growth has ended, or was withdrawn.
        """
        there = {"growth.to": {"$exists": True}}
        await self._update(shard, there, {"$set": {f"growth.after.{collection}": identity}})

    async def _update(self, shard: int, where: Document, change: dict[str, Any]) -> None:
        # Without the growth that it is about, an update would make a part of one, which no worker can read.
        with mongo_call("write a growth", self._timeout_s):
            done = await self._collection(shard).update_one(THE_COUNT | where, change)
        if not done.matched_count:
            raise Refused(_ANOTHER)

    async def _growth(self, shard: int) -> Document:
        with mongo_call("read a growth", self._timeout_s):
            found = await self._collection(shard).find_one(THE_COUNT)
        growth: Document = (found or {}).get("growth", {})
        return growth

    def _collection(self, shard: int) -> AsyncCollection[Document]:
        return self._shards.database(shard)[PARTITIONS]
