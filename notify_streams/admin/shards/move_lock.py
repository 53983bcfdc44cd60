"""One mover at a time in a region: a document on the first shard, kept alive while the move runs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from notify_streams.errors import Refused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.database import AsyncDatabase

MOVER: Final = "mover"
_RENEWED: Final = 5


@asynccontextmanager
async def move_lock(database: AsyncDatabase[dict[str, Any]], silent_s: float) -> AsyncIterator[None]:
    """Be the mover; one that has been silent for `silent_s` is taken for dead.

    Raises:
        Refused: another one is at work.
        StoreUnavailable: this one could not say in time that it lives, and was stopped.
    """
    name = uuid4().hex
    if not await _claimed(database[MOVER], name, silent_s):
        raise Refused(f"another move is under way; if it was killed, try again in {silent_s:g} s")
    task = asyncio.current_task()
    assert task is not None
    lost = False

    async def keep() -> None:
        nonlocal lost
        try:
            while True:
                await asyncio.sleep(silent_s / _RENEWED)
                async with asyncio.timeout(silent_s / 2):
                    if not await _claimed(database[MOVER], name, silent_s):
                        break
        except (PyMongoError, TimeoutError):
            pass
        lost = True
        task.cancel()

    keeping = asyncio.create_task(keep())
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            raise StoreUnavailable("the first shard did not answer in time: the move stopped; run it again") from None
        raise
    finally:
        keeping.cancel()
        with suppress(PyMongoError):
            await database[MOVER].delete_one({"_id": MOVER, "name": name})


async def _claimed(collection: AsyncCollection[dict[str, Any]], name: str, silent_s: float) -> bool:
    """Write our name, unless another one's is there and younger than that by the server's clock."""
    free = {"$or": [{"$eq": ["$name", name]}, {"$not": ["$until"]}, {"$lt": ["$until", "$$NOW"]}]}
    until = {"$cond": [free, {"$add": ["$$NOW", int(silent_s * 1000)]}, "$until"]}
    change = [{"$set": {"name": {"$cond": [free, name, "$name"]}, "until": until}}]
    try:
        found = await collection.find_one_and_update(
            {"_id": MOVER}, change, upsert=True, return_document=ReturnDocument.AFTER
        )
    except DuplicateKeyError:  # another one began at the same moment
        return False
    return found is not None and found["name"] == name
