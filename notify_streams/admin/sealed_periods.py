"""Reads sealed sums for people: how many there are, and those of the last periods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from notify_streams.admin.audit.sealed import closes, sums_of
from notify_streams.stores.mongo import SEALED_SUMS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from notify_streams.stores.mongo import Document, Shards

#: The newest ones that the overview looks at, on each shard.
_NEWEST: Final = 1_000


async def overview(shards: Shards, timeout_s: float) -> dict[str, Any]:
    """``{"count", "first", "last", "closes"}`` of a region: about how many there are, first and last end of a period, and whether the newest
    ones close. Only `audit` checks all of them.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    count = 0
    ends: list[datetime] = []
    newest: list[Document] = []
    for shard in range(len(shards)):
        with mongo_call(f"read sealed sums on shard {shard}", timeout_s):
            collection = shards.database(shard)[SEALED_SUMS]
            count += await collection.estimated_document_count()
            newest += await collection.find().sort("period_end", -1).limit(_NEWEST).to_list()
            if (first := await collection.find_one({}, {"period_end": 1}, sort=[("period_end", 1)])) is not None:
                ends.append(first["period_end"])
    last = max((one["period_end"] for one in newest), default=None)
    return {
        "count": count,
        "first": min(ends).isoformat() if ends else None,
        "last": None if last is None else last.isoformat(),
        "closes": all(map(closes, newest)),
    }


async def sealed_since(shards: Shards, since: datetime, timeout_s: float) -> list[Document]:
    """The sealed sums of the periods that ended after `since`.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    found: list[Document] = []
    for shard in range(len(shards)):
        with mongo_call(f"read sealed sums on shard {shard}", timeout_s):
            query = {"bucket": {"$in": shards.buckets(shard)}, "period_end": {"$gt": since}}
            found += await shards.database(shard)[SEALED_SUMS].find(query).to_list()
    return found


def by_period(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The sums of each period and role over all partitions, in that order.

    Returns:
        A list of ``{"period_end", "role", "stage", "partitions", "closes", "sums"}``.
    """
    groups: dict[tuple[datetime, str, int], list[Mapping[str, Any]]] = {}
    for one in documents:
        groups.setdefault((one["period_end"], one["role"], one["partitions"]), []).append(one)
    rows = []
    for (end, role, partitions), group in sorted(groups.items()):
        sums: Counter[str] = Counter()
        for one in group:
            sums.update(sums_of(one))
        rows.append(
            {
                "period_end": end.isoformat(),
                "role": role,
                "stage": group[0]["stage"],
                "partitions": partitions,
                "closes": all(map(closes, group)),
                "sums": {name: count for name, count in sorted(sums.items()) if count and name != "next_offset"},
            }
        )
    return rows
