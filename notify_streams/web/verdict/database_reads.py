"""What the verdict reads from the shards: ledger, outbox, overdue retries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo import TIMERS
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.web.ledger import read_ledger, region_ledger
from notify_streams.web.outbox import read_outbox, region_outbox
from notify_streams.web.region_reads import store_timeout_s

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from notify_streams.app import NotifyApp
    from notify_streams.stores.mongo import Document, Shards
    from notify_streams.web.outbox import Backlog

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class DatabaseReads:
    """What the shards answered. None: one of them did not answer."""

    #: Rows of the ledger, and whether these are all.
    ledger: tuple[list[Document], bool] | None
    outbox: Backlog | None
    #: How long the oldest retry that is due has waited, in seconds; 0: none is due.
    overdue_s: float | None


async def read_databases(worker: NotifyApp) -> DatabaseReads:
    """All reads together, shared with the views; some seconds at most."""
    return await _all(region_ledger(worker), region_outbox(worker), overdue(worker.shards, store_timeout_s(worker)))


async def read_shards(shards: Shards, timeout_s: float) -> DatabaseReads:
    """The same for one command."""
    return await _all(read_ledger(shards, timeout_s), read_outbox(shards, timeout_s), overdue(shards, timeout_s))


async def _all(
    ledger: Awaitable[tuple[list[Document], bool]], outbox: Awaitable[Backlog], overdue_s: Awaitable[float]
) -> DatabaseReads:
    return DatabaseReads(*await asyncio.gather(_or_none(ledger), _or_none(outbox), _or_none(overdue_s)))


async def overdue(shards: Shards, timeout_s: float) -> float:
    """How long the oldest retry that is due has waited, by this machine's clock.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    oldest = await asyncio.gather(*(_oldest(shards, shard, timeout_s) for shard in range(len(shards))))
    now = datetime.now(UTC)
    return max((max(0.0, (now - due).total_seconds()) for due in oldest if due is not None), default=0.0)


async def _oldest(shards: Shards, shard: int, timeout_s: float) -> datetime | None:
    query: dict[str, Any] = {"bucket": {"$in": shards.buckets(shard)}}
    with mongo_call(f"the oldest timer on shard {shard}", timeout_s):
        found = await shards.database(shard)[TIMERS].find_one(query, {"due_at": 1}, sort=[("due_at", 1)])
    return None if found is None else found["due_at"]


async def _or_none(reading: Awaitable[Result]) -> Result | None:
    try:
        return await reading
    except StoreUnavailable:
        return None
