"""Aborts transactions that a killed or stopped worker left open.

MongoDB keeps such a transaction's locks until `transactionLifetimeLimitSeconds` (60 by default), and other writes to the same documents wait
for them. If the worker is alive and only slow, it gets a transient error and repeats the transaction. Both commands are allowed to every
user for its own sessions.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from notify_streams import metrics
from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.stores.mongo import Shards

log = logging.getLogger(__name__)

#: Longer than a running worker pauses between two commands of a transaction, shorter than a consumer group's session time-out.
INACTIVE_S: Final = 1.0
_TIMEOUT_S: Final = 2.0


async def abort_orphaned_transactions(shards: Shards, on: Iterable[int]) -> int:
    """Abort those on the shards `on`; returns how many there were. A shard that does not answer is skipped."""
    return sum(await asyncio.gather(*(_abort_on(shards, shard) for shard in on)))


async def _abort_on(shards: Shards, shard: int) -> int:
    admin = shards.client(shard).admin
    orphaned = {
        "type": "idleSession",
        "appName": shards.app_name,
        "transaction.timeInactiveMicros": {"$gte": int(INACTIVE_S * 1_000_000)},
    }
    pipeline: list[dict[str, Any]] = [
        {"$currentOp": {"idleSessions": True}},
        {"$match": orphaned},
        {"$project": {"lsid.id": 1}},
    ]
    try:
        with mongo_call(f"abort orphaned transactions on shard {shard}", _TIMEOUT_S):
            session_ids = [one["lsid"]["id"] async for one in await admin.aggregate(pipeline)]
            if session_ids:
                await admin.command({"killSessions": [{"id": session_id} for session_id in session_ids]})
    except StoreUnavailable as error:
        log.warning(
            "orphaned transactions not aborted, will be retried",
            extra={"action": "orphaned_transactions.skip", "shard": shard, "error": error},
        )
        return 0
    if session_ids:
        log.info(
            "orphaned transactions aborted",
            extra={"action": "orphaned_transactions.abort", "shard": shard, "transactions": len(session_ids)},
        )
        metrics.ABANDONED.inc(len(session_ids))
    return len(session_ids)
