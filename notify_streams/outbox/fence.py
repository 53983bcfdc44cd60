"""The fence: after it is raised, no flush that was decided by an earlier placement commits, on whatever worker it was decided.

In: the epoch of a placement. Out: every ledger document of the router roles says it. A flush updates its ledger document only
`where epoch is not above the epoch it was decided by`, so the database itself refuses what a stopped, stalled or slow worker
still has in hand, and the worker reads the same records again and decides them anew.

A ledger that is begun later begins behind the fence: each shard keeps the fence in a document of its own, which whoever begins a
ledger touches in the same transaction, so that it is begun either before the fence is raised, and raised with it, or behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pymongo import ReturnDocument

from notify_streams.roles import LANES
from notify_streams.stores.mongo import LEDGER
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.stores.mongo import Shards

EPOCH: Final = "epoch"
_FENCE: Final = "fence"
_ROUTERS: Final = {"_id": "routers"}


def not_fenced(epoch: int) -> dict[str, Any]:
    """The condition that a flush adds to its ledger update; a document without an epoch was never fenced."""
    return {EPOCH: {"$not": {"$gt": epoch}}}


async def raise_fence(shards: Shards, epoch: int, timeout_s: float = 3.0) -> None:
    """Return when every shard has the fence, acknowledged by a majority of its members. Raising it twice changes nothing.

    Raises:
        StoreUnavailable: a shard did not answer; the fence is not raised, and nobody may be told that it is.
    """
    # One look for all: a bucket that moves meanwhile is refused where it was, and so is not forgotten between two shards.
    places = [shards.buckets(shard) for shard in range(len(shards))]
    for shard, buckets in enumerate(places):
        with mongo_call(f"shard {shard}", timeout_s):
            database = shards.database(shard)
            # First: from here on a ledger is begun behind the fence; those that were begun before are there to be raised.
            await database[_FENCE].update_one(_ROUTERS, {"$max": {EPOCH: epoch}}, upsert=True)
            condition = {"bucket": {"$in": buckets}, "role": {"$in": list(LANES)}}
            await database[LEDGER].update_many(condition, {"$max": {EPOCH: epoch}})


async def begin_behind_fence(database: AsyncDatabase[Any], session: AsyncClientSession) -> int:
    """The epoch that a ledger begun in this transaction begins with; a fence that is raised meanwhile makes it begin again."""
    fence = await database[_FENCE].find_one_and_update(
        _ROUTERS, {"$inc": {"begun": 1}}, upsert=True, return_document=ReturnDocument.AFTER, session=session
    )
    return int((fence or {}).get(EPOCH, 0))
