"""The fence: refuses every flush that was decided under an earlier placement.

Raising the fence writes the new epoch into every ledger document of the router roles. A flush updates its ledger document only if the
document's epoch is not above the epoch under which the flush was decided. So MongoDB refuses what a stalled worker still holds; the worker
reads the same records again and decides them anew.

A ledger created later is fenced too: each shard keeps the fence in a document of its own, and the transaction that creates a ledger writes
to it. Either the ledger exists before the fence is raised and is raised with it, or it is created with the new epoch.
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
    """The condition of a ledger step decided under `epoch`. A document without an epoch was never fenced."""
    return {EPOCH: {"$not": {"$gt": epoch}}}


async def raise_fence(shards: Shards, epoch: int, timeout_s: float = 3.0) -> None:
    """Return when a majority of every shard has the fence. Raising it twice changes nothing.

    Raises:
        StoreUnavailable: a shard did not answer. The fence is not raised: do not publish the release.
    """
    # Read the directory once: a bucket that moves meanwhile is refused on its old shard, so it cannot be missed between two shards.
    buckets_by_shard = [shards.buckets(shard) for shard in range(len(shards))]
    for shard, buckets in enumerate(buckets_by_shard):
        with mongo_call(f"raise fence on shard {shard}", timeout_s):
            database = shards.database(shard)
            # First the shard's fence: ledgers created from now on are fenced. Then the ledgers that exist.
            await database[_FENCE].update_one(_ROUTERS, {"$max": {EPOCH: epoch}}, upsert=True)
            condition = {"bucket": {"$in": buckets}, "role": {"$in": list(LANES)}}
            await database[LEDGER].update_many(condition, {"$max": {EPOCH: epoch}})


async def fence_for_new_ledger(database: AsyncDatabase[Any], session: AsyncClientSession) -> int:
    """The epoch for a ledger that this transaction creates. A fence raised meanwhile conflicts and makes the transaction run again."""
    fence = await database[_FENCE].find_one_and_update(
        _ROUTERS, {"$inc": {"begun": 1}}, upsert=True, return_document=ReturnDocument.AFTER, session=session
    )
    return int((fence or {}).get(EPOCH, 0))


async def forget_fence(shards: Shards, timeout_s: float = 3.0) -> None:
    """Take back every epoch: the control log that they came from is lost, and the placement begins anew.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    for shard in range(len(shards)):
        with mongo_call(f"forget the fence on shard {shard}", timeout_s):
            database = shards.database(shard)
            await database[_FENCE].update_one(_ROUTERS, {"$unset": {EPOCH: ""}})
            await database[LEDGER].update_many({"bucket": {"$in": shards.buckets(shard)}}, {"$unset": {EPOCH: ""}})
