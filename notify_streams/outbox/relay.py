"""Relay: publishes outbox rows that a stopped worker left behind.

A new owner of a bucket drains it before it processes new records, which keeps the order per user. A periodic sweep publishes what a failed
publication left. A row can be published twice (crash between publication and deletion), always with the same ids.
"""

from __future__ import annotations

import logging
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from notify_streams import metrics, tasks
from notify_streams.errors import RetryLater
from notify_streams.outbox.flush_plan import OutboxRow
from notify_streams.outbox.publisher import publish, rows_by_partition
from notify_streams.outbox.row_ids import all_of_role, backlog_range, created_ms, flush_of, may_be_relayed
from notify_streams.stores.mongo import OUTBOX, by_shard
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from notify_streams.outbox.flush_plan import Packed
    from notify_streams.outbox.publisher import RowsByPartition
    from notify_streams.records.batch import Producer
    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

#: A client may write a header without a value; it is handed on unchanged.
_unpack: Final = msgspec.msgpack.Decoder(list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]).decode
#: Each row may have 8 MB.
_ROWS_PER_READ: Final = 4
#: Reads in a row of which nothing could be published, after which the rest waits.
_READS_IN_VAIN: Final = 3


class Relay:
    """The outbox rows of one role."""

    def __init__(self, role: str, shards: Shards, producer: Producer, timeout_s: float) -> None:
        self._role = role
        self._shards = shards
        self._producer = producer
        self._timeout_s = timeout_s

    async def drain(
        self,
        buckets: Iterable[int],
        *,
        older_than_ms: int = 0,
        exclude: frozenset[str] = frozenset(),
        published: frozenset[str] = frozenset(),
    ) -> int:
        """Publish and delete the rows of `buckets`, oldest first.

        Args:
            older_than_ms: skip younger rows: their writer may be publishing them. 0: none, whatever its clock showed.
            exclude: flush ids that this worker itself is publishing.
            published: flush ids that this worker has published and deleted. Their rows, copied by a bucket move, are only deleted.

        Returns:
            How many rows were published.

        Raises:
            RetryLater: the shard or the broker does not answer; unpublished rows stay.
        """
        shards = by_shard(self._shards, set(buckets), int)
        return sum(
            await tasks.all_ended(
                self._drain_on(shard, mine, older_than_ms, exclude, published) for shard, mine in shards.items()
            )
        )

    async def _drain_on(
        self, shard: int, buckets: Sequence[int], older_than_ms: int, exclude: frozenset[str], published: frozenset[str]
    ) -> int:
        with_rows = await self._with_rows_on(shard, buckets)
        return sum(
            await tasks.all_ended(self._drain_bucket(bucket, older_than_ms, exclude, published) for bucket in with_rows)
        )

    async def with_rows(self, buckets: Iterable[int]) -> list[int]:
        """Those of `buckets` that have a row; mostly none has.

        Raises:
            StoreUnavailable: a shard does not answer.
        """
        shards = by_shard(self._shards, set(buckets), int)
        return [*chain(*await tasks.all_ended(self._with_rows_on(shard, mine) for shard, mine in shards.items()))]

    async def _with_rows_on(self, shard: int, buckets: Sequence[int]) -> list[int]:
        query = {"bucket": {"$in": sorted(buckets)}, "_id": all_of_role(self._role)}
        with mongo_call(f"read outbox of shard {shard}", self._timeout_s):
            return await self._shards.database(shard)[OUTBOX].distinct("bucket", query)

    async def _drain_bucket(
        self, bucket: int, older_than_ms: int, exclude: frozenset[str], published: frozenset[str]
    ) -> int:
        """A partition that takes nothing holds up no rows for others.

        After some reads of which nothing could be published none may take anything, and the rest waits.
        """
        count = in_vain = 0
        after = ""
        refused: set[tuple[str, int]] = set()
        failure: Exception | None = None
        while in_vain < _READS_IN_VAIN and (rows := await self._read(bucket, after, refused)):
            after = rows[-1]["_id"]
            now_ms = time.time_ns() // 1_000_000
            due = [
                row
                for row in rows
                if may_be_relayed(row["_id"], now_ms, older_than_ms) and flush_of(row["_id"]) not in exclude
            ]
            if not due:
                continue
            left = [row for row in due if flush_of(row["_id"]) not in published]
            found = rows_by_partition(one for row in left for one in _rows(bucket, row))
            waiting = {place: queue for place, queue in found.items() if place not in refused}
            try:
                await publish(self._producer, waiting)
            except Exception as error:  # the rows stay, so any error may be retried
                failure = failure or error
            in_vain = in_vain + 1 if waiting and all(waiting.values()) else 0
            refused |= {place for place, queue in waiting.items() if queue}
            kept = {row.document["_id"] for queue in found.values() for row in queue}
            left = [row for row in left if row["_id"] not in kept]
            await self.delete_published(due, found)
            count += len(left)
            metrics.RELAYED.inc(len(left))
            log.info("outbox rows relayed", extra={"action": "outbox.relay", "bucket": bucket, "rows": len(left)})
        if failure is not None:
            raise RetryLater(f"outbox rows cannot be published: {type(failure).__name__}: {failure}") from failure
        return count

    async def _read(self, bucket: int, after: str, refused: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
        """The next rows that have records for another partition than those that `refused` them."""
        bounds = backlog_range(self._role, bucket)
        if after:
            bounds = {"$gt": after, "$lt": bounds["$lt"]}
        query = {"bucket": bucket, "_id": bounds} | _beside(refused)
        collection = self._shards.collection(OUTBOX, bucket)
        with mongo_call(f"read outbox of bucket {bucket}", self._timeout_s):
            return await collection.find(query).sort("_id", 1).limit(_ROWS_PER_READ).to_list()

    async def delete_published(self, documents: Iterable[Document], waiting: RowsByPartition) -> None:
        """Delete documents of rows, but what is `waiting`: whatever else is in the same document would be published again.

        Raises:
            StoreUnavailable: a shard does not answer.
        """
        left: dict[str, tuple[Document, list[OutboxRow]]] = {}
        for queue in waiting.values():
            for row in queue:
                left.setdefault(row.document["_id"], (row.document, []))[1].append(row)
        published = by_shard(
            self._shards, [one for one in documents if one["_id"] not in left], lambda one: one["bucket"]
        )
        in_part = by_shard(self._shards, left.values(), lambda one: one[0]["bucket"])
        await tasks.all_ended(
            self._delete_on(shard, published.get(shard, ()), in_part.get(shard, ()))
            for shard in published.keys() | in_part.keys()
        )

    async def _delete_on(
        self, shard: int, published: Sequence[Document], in_part: Sequence[tuple[Document, Sequence[OutboxRow]]]
    ) -> None:
        collection = self._shards.database(shard)[OUTBOX]
        with mongo_call(f"delete published rows on shard {shard}", self._timeout_s):
            for document, rows in in_part:
                places = {(row.topic, row.partition) for row in rows}
                parts = [one for one in document.get("parts", ()) if (one["topic"], one["partition"]) in places]
                if parts != document.get("parts", parts):
                    where = {"bucket": document["bucket"], "_id": document["_id"]}
                    await collection.update_one(where, {"$set": {"parts": parts}})
            if published:
                buckets = sorted({one["bucket"] for one in published})
                query = {"bucket": {"$in": buckets}, "_id": {"$in": [one["_id"] for one in published]}}
                await collection.delete_many(query)

    async def waiting(self, buckets: Iterable[int]) -> tuple[int, float]:
        """The number of rows in `buckets` and the age of the oldest in seconds (0.0 if there is none).

        Raises:
            StoreUnavailable: a shard does not answer.
        """
        count = 0
        oldest_ms: int | None = None
        for bucket in await self.with_rows(buckets):
            query = {"bucket": bucket, "_id": backlog_range(self._role, bucket)}
            with mongo_call(f"count outbox of bucket {bucket}", self._timeout_s):
                collection = self._shards.collection(OUTBOX, bucket)
                first = await collection.find_one(query, {"_id": 1}, sort=[("_id", 1)])
                if first is None:
                    continue
                count += await collection.count_documents(query)
            written = created_ms(first["_id"])
            oldest_ms = written if oldest_ms is None else min(oldest_ms, written)
        if oldest_ms is None:
            return 0, 0.0
        return count, max(0.0, time.time() - oldest_ms / 1000)

    async def show_waiting(self, buckets: Iterable[int]) -> None:
        """Set the metrics of what waits in `buckets`. Raises as `waiting`."""
        rows, oldest_s = await self.waiting(buckets)
        metrics.OUTBOX_ROWS.set(rows)
        metrics.OUTBOX_OLDEST.set(oldest_s)


def _beside(refused: Collection[tuple[str, int]]) -> dict[str, Any]:
    """The query for rows that have records for a partition that is not `refused`."""
    if not refused:
        return {}
    places = [{"topic": topic, "partition": partition} for topic, partition in sorted(refused)]
    of_one = {"parts": {"$exists": False}, "$nor": places}
    return {"$or": [of_one, {"parts": {"$elemMatch": {"$nor": places}}}]}


def _rows(bucket: int, document: dict[str, Any]) -> list[OutboxRow]:
    """Those of a document: one, or those in its `parts` (`delivery.event_outbox`)."""
    return [
        OutboxRow(bucket, one["topic"], one["partition"], cast("Sequence[Packed]", _unpack(one["records"])), document)
        for one in document.get("parts", (document,))
    ]
