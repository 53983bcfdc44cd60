"""`/outbox`: what is committed and not published yet, for each role and bucket: how many rows, and how old the oldest is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.outbox.row_ids import created_ms
from notify_streams.stores.mongo import OUTBOX
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.web.responses import WebView, answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import Request, Response

    from notify_streams.stores.mongo import Document, Shards

#: Rows may be 8 MB each, and everything that is asked stands in their ids: this reads the index on `_id` and nothing else. It names
#: no bucket because a row that stayed on a shard which its bucket has left must show up, too.
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


class Waiting(msgspec.Struct, frozen=True):
    """One role's rows of one bucket."""

    role: str
    bucket: int
    shard: int
    rows: int
    oldest_s: float


class Backlog(msgspec.Struct, frozen=True):
    """The outbox of a region; `oldest_s` is 0 where nothing waits."""

    rows: int
    oldest_s: float
    buckets: list[Waiting]


async def read_outbox(shards: Shards, within_s: float) -> Backlog:
    """What waits on all shards now.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    groups = await asyncio.gather(*(_read_shard(shards, shard, within_s) for shard in range(len(shards))))
    return backlog(groups, time.time())


async def _read_shard(shards: Shards, shard: int, within_s: float) -> list[Document]:
    with mongo_call(f"the outbox on shard {shard}", within_s):
        found = await shards.database(shard)[OUTBOX].aggregate(_PIPELINE, hint={"_id": 1})
        return await found.to_list()


def backlog(groups: Sequence[Sequence[Document]], now_s: float) -> Backlog:
    """What the shards answered to `_PIPELINE`, as a value."""
    waiting = [
        Waiting(
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


class Outbox(WebView):
    async def get(self, request: Request) -> Response:
        found = await read_outbox(self.worker.shards, self.store_s)
        return answer({"region": self.worker.settings.region, **msgspec.structs.asdict(found)})
