"""Allows one bucket move at a time by a lease document on the first shard."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from notify_streams import tasks
from notify_streams.errors import Refused, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.database import AsyncDatabase

MOVER: Final = "mover"
_RENEWALS_PER_LEASE: Final = 5


@asynccontextmanager
async def move_lock(database: AsyncDatabase[dict[str, Any]], lease_s: float) -> AsyncIterator[None]:
    """Hold the lock; a holder that has not renewed it for `lease_s` loses it.

    Raises:
        Refused: another move holds the lock.
        StoreUnavailable: the lock could not be renewed in time; the block was cancelled.
    """
    owner = uuid4().hex
    locks = database[MOVER]
    if not await _acquire(locks, owner, lease_s):
        raise Refused(f"another move is in progress; if it was killed, try again in {lease_s:g} s")
    task = asyncio.current_task()
    assert task is not None
    lost = False

    async def renew() -> None:
        nonlocal lost
        with suppress(PyMongoError, TimeoutError):
            renewed = True
            while renewed:
                await asyncio.sleep(lease_s / _RENEWALS_PER_LEASE)
                async with asyncio.timeout(lease_s / 2):
                    renewed = await _acquire(locks, owner, lease_s)
        lost = True
        task.cancel()

    renewal = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            raise StoreUnavailable("the move lock was not renewed in time and the move stopped; run it again") from None
        raise
    finally:
        await tasks.stop([renewal])
        with suppress(PyMongoError):
            await locks.delete_one({"_id": MOVER, "name": owner})


async def is_locked(database: AsyncDatabase[dict[str, Any]]) -> bool:
    """Whether a move holds the lock, or has been killed within its lease."""
    return await database[MOVER].find_one({"_id": MOVER, "$expr": {"$gt": ["$until", "$$NOW"]}}) is not None


async def _acquire(locks: AsyncCollection[dict[str, Any]], owner: str, lease_s: float) -> bool:
    """Acquire or renew the lock, unless another owner's lease is valid by the server's clock."""
    free = {"$or": [{"$eq": ["$name", owner]}, {"$not": ["$until"]}, {"$lt": ["$until", "$$NOW"]}]}
    until = {"$cond": [free, {"$add": ["$$NOW", int(lease_s * 1000)]}, "$until"]}
    change = [{"$set": {"name": {"$cond": [free, owner, "$name"]}, "until": until}}]
    try:
        lock = await locks.find_one_and_update(
            {"_id": MOVER}, change, upsert=True, return_document=ReturnDocument.AFTER
        )
    except DuplicateKeyError:  # another move created it at the same time
        return False
    return lock is not None and lock["name"] == owner
