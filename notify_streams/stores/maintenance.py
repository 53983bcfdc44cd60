"""Work on a whole region that no worker may see half done.

Collection `maintenance` of the first shard: ``{_id, verb, began_at, options, done: [step], found: {step: …}, finished_at}``. A worker that
starts waits until each has `finished_at`; a command refuses to begin one while workers run, and while another one is under way. A step
that was interrupted is made again.
"""

from __future__ import annotations

import secrets
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from notify_streams.errors import Refused, RetryLater, StoreUnavailable
from notify_streams.retry import RetryPolicy
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.stores.mongo import Document, Shards

#: The verb whose work changes what the audit compares.
RESTORE: Final = "restore apply"
MAINTENANCE: Final = "maintenance"
_UNFINISHED: Final = {"finished_at": {"$exists": False}}
_FIRST_SHARD: Final = 0
_RETRY: Final = RetryPolicy("maintenance.wait", first_s=0.5, max_s=5.0)


@dataclass(slots=True)
class Maintenance:
    """One of them, as it was read."""

    id: str
    verb: str
    began_at: datetime
    options: Document
    done: set[str] = field(default_factory=set)
    #: What each step has found.
    found: Document = field(default_factory=dict)


class MaintenanceLog:
    """Reads and writes these documents. Every method raises `StoreUnavailable` if the shard does not answer."""

    def __init__(self, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s

    async def under_way(self) -> Maintenance | None:
        """The one that has begun and has not ended."""
        with mongo_call("read maintenance", self._timeout_s):
            found = await self._collection().find_one(_UNFINISHED)
        if found is None:
            return None
        return Maintenance(
            found["_id"], found["verb"], found["began_at"], found["options"], set(found["done"]), dict(found["found"])
        )

    async def begin(self, verb: str, options: Document) -> Maintenance:
        """Begin one. Workers that start from now on wait.

        Raises:
            Refused: another command has begun one since `under_way`.
        """
        one = Maintenance(secrets.token_hex(8), verb, datetime.now(UTC), options)
        stored = {"_id": one.id, "verb": verb, "began_at": one.began_at, "options": options, "done": [], "found": {}}
        with mongo_call("begin maintenance", self._timeout_s):
            await self._collection().insert_one(stored)
            # Of two that begin at the same time, at least one sees the other.
            other = await self._collection().find_one(_UNFINISHED | {"_id": {"$ne": one.id}})
        if other is not None:
            await self.withdraw(one)
            raise Refused(f"another `notify-streams {other['verb']}` has begun at the same time: run one of them alone")
        return one

    async def step_done(self, one: Maintenance, step: str, found: Any) -> None:
        """A step is complete."""
        with mongo_call("write maintenance", self._timeout_s):
            update = {"$addToSet": {"done": step}, "$set": {f"found.{step}": found}}
            await self._collection().update_one({"_id": one.id}, update)
        one.done.add(step)
        one.found[step] = found

    async def finish(self, one: Maintenance) -> None:
        """Workers may start."""
        with mongo_call("finish maintenance", self._timeout_s):
            await self._collection().update_one({"_id": one.id}, {"$set": {"finished_at": datetime.now(UTC)}})

    async def withdraw(self, one: Maintenance) -> None:
        """Remove one that has done nothing."""
        with mongo_call("withdraw maintenance", self._timeout_s):
            await self._collection().delete_one({"_id": one.id})

    async def finished(self, verb: str) -> list[Document]:
        """Those of a verb that have ended, oldest first."""
        with mongo_call("read maintenance", self._timeout_s):
            found = self._collection().find({"verb": verb, "finished_at": {"$exists": True}}).sort("began_at", 1)
            return await found.to_list()

    def _collection(self) -> AsyncCollection[Document]:
        return self._shards.database(_FIRST_SHARD)[MAINTENANCE]


async def wait_for_maintenance(
    shards: Shards,
    timeout_s: float,
    while_waiting: Callable[[str], AbstractAsyncContextManager[object]] = nullcontext,
) -> None:
    """Return when no maintenance is under way: a worker does nothing before. The log says what it waits for.

    `while_waiting` gets the same sentence, and is entered only if there is something to wait for. A first shard that does not answer is not
    waited for: no command gets on without it, and the buckets of the others need workers.
    """

    async def look() -> None:
        try:
            one = await MaintenanceLog(shards, timeout_s).under_way()
        except StoreUnavailable:
            return
        if one is not None:
            raise RetryLater(
                f"`notify-streams {one.verb}` of {one.began_at:%Y-%m-%d %H:%M} UTC has not ended: run it again to its end"
            )

    try:
        await look()
    except RetryLater as error:
        what = str(error)
    else:
        return
    async with while_waiting(what):
        await _RETRY.call(look)
