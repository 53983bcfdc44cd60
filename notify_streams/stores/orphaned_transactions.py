"""Transactions that a killed or stopped worker left open. In: the shards. Out: they are aborted, and their documents can be written again.

MongoDB keeps such a transaction's locks until `transactionLifetimeLimitSeconds`, a minute by default, and lets every other write of the
same ledgers and rows wait for it. To abort the transaction of a worker that lives and was only slow is harmless: it is told so by a
transient error, and repeats it. Both commands are allowed to every user for the sessions that are its own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo.errors import PyMongoError

from notify_streams import metrics

if TYPE_CHECKING:
    from notify_streams.stores.mongo import Shards

log = logging.getLogger(__name__)

#: A worker that lives gives its transaction the next command sooner; the shortest session of a consumer group ends later.
INACTIVE_S: Final = 1.0
_TIMEOUT_S: Final = 2.0


async def abort_orphaned_transactions(shards: Shards) -> int:
    """Abort them on every shard, and say how many there were. A shard that does not answer is passed over."""
    return sum(await asyncio.gather(*(_abort_on(shards, shard) for shard in range(len(shards)))))


async def _abort_on(shards: Shards, shard: int) -> int:
    admin = shards.client(shard).admin
    abandoned = {
        "type": "idleSession",
        "appName": shards.app_name,
        "transaction.timeInactiveMicros": {"$gte": int(INACTIVE_S * 1_000_000)},
    }
    listing: list[dict[str, Any]] = [
        {"$currentOp": {"idleSessions": True}},
        {"$match": abandoned},
        {"$project": {"lsid.id": 1}},
    ]
    try:
        with pymongo.timeout(_TIMEOUT_S):
            found = [one["lsid"]["id"] async for one in await admin.aggregate(listing)]
            if found:
                await admin.command({"killSessions": [{"id": identity} for identity in found]})
    except PyMongoError as error:
        log.warning(
            "abandoned transactions stay for now",
            extra={"action": "abort", "shard": shard, "error": type(error).__name__},
        )
        return 0
    if found:
        log.info(
            "abandoned transactions aborted", extra={"action": "abort", "shard": shard, "transactions": len(found)}
        )
        metrics.ABANDONED.inc(len(found))
    return len(found)
