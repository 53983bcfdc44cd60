"""Number and age of unpublished outbox rows, by role and bucket."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.outbox.row_ids import created_ms
from notify_streams.stores.mongo import OUTBOX
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.web.region_reads import read_shared, store_timeout_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.app import NotifyApp
    from notify_streams.stores.mongo import Document, Shards

#: Reads the index on `_id` only, because rows can have 8 MB. Selects no bucket, so that it also finds rows that were left on a shard
#: from which their bucket was moved.
_PIPELINE: Final[list[dict[str, Any]]] = [
    {"$project": {"_id": 1}},
    {
        "$group": {
            "_id": {"$slice": [{"$split": ["$_id", ":"]}, 2]},
            "rows": {"$sum": 1},
            "oldest": {"$min": "$_id"},
        }
    },
]


class WaitingRows(msgspec.Struct, frozen=True):
    """The rows of one role and bucket on one shard."""

    role: str
    bucket: int
    shard: int
    rows: int
    oldest_s: float


class Backlog(msgspec.Struct, frozen=True):
    """The outbox of a region; `oldest_s` is 0 without rows."""

    rows: int
    oldest_s: float
    buckets: list[WaitingRows]


async def region_outbox(worker: NotifyApp) -> Backlog:
    """`read_outbox` of the worker's region, at most once a second for all views."""
    return await read_shared(worker, _read_region)


async def _read_region(worker: NotifyApp) -> Backlog:
    return await read_outbox(worker.shards, store_timeout_s(worker))


async def read_outbox(shards: Shards, timeout_s: float) -> Backlog:
    """The unpublished rows of all shards.

    Raises:
        StoreUnavailable: a shard does not respond.
    """
    groups = await asyncio.gather(*(_read_shard(shards, shard, timeout_s) for shard in range(len(shards))))
    return backlog(groups, time.time())


async def _read_shard(shards: Shards, shard: int, timeout_s: float) -> list[Document]:
    with mongo_call(f"the outbox on shard {shard}", timeout_s):
        found = await shards.database(shard)[OUTBOX].aggregate(_PIPELINE, hint={"_id": 1})
        return await found.to_list()


def backlog(groups: Sequence[Sequence[Document]], now_s: float) -> Backlog:
    """`groups`: the results of `_PIPELINE`, one list for each shard."""
    waiting = [
        WaitingRows(
            group["_id"][0],
            int(group["_id"][1]),
            shard,
            group["rows"],
            round(max(0.0, now_s - created_ms(group["oldest"]) / 1000), 3),
        )
        for shard, found in enumerate(groups)
        for group in found
    ]
    waiting.sort(key=lambda one: (one.role, one.bucket, one.shard))
    return Backlog(sum(one.rows for one in waiting), max((one.oldest_s for one in waiting), default=0.0), waiting)
