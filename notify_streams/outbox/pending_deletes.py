"""Published outbox rows that are not deleted yet, and those deleted last.

Rows are deleted in groups: at a few hundred triggers a second a delete command in each flush would take a fifth of the transaction's time.
Rows that were not deleted are published again after a crash, so the groups are small.
"""

from __future__ import annotations

import time
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.outbox.flush_plan import OutboxRow

#: Longer than `shards move` blocks writes: rows deleted here may have been copied to the other shard already.
_REMEMBERED_S: Final = 60.0
#: At this many flushes, or records in them, the next transaction deletes the rows.
_FLUSHES: Final = 8
_RECORDS: Final = 128


def rows_filter(rows: Sequence[OutboxRow]) -> dict[str, Any]:
    """What matches these rows."""
    buckets = sorted({row.bucket for row in rows})
    return {"bucket": {"$in": buckets}, "_id": {"$in": [row.document["_id"] for row in rows]}}


class PendingDeletes(dict[str, dict[str, Any]]):
    """Flush id → filter of its rows, from publication to deletion."""

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[str, int] = {}
        self._deleted: dict[str, float] = {}

    def add(self, flush_id: str, rows: Sequence[OutboxRow]) -> None:
        """Add the rows of a flush that Kafka has acknowledged."""
        self[flush_id] = rows_filter(rows)
        self._records[flush_id] = sum(len(row.records) for row in rows)

    def due(self) -> dict[str, dict[str, Any]]:
        """What the next transaction deletes: everything, or nothing while that is little."""
        return dict(self) if len(self) >= _FLUSHES or sum(self._records.values()) >= _RECORDS else {}

    def mark_deleted(self, flush_ids: Iterable[str]) -> None:
        """Remove these flushes: their rows are deleted."""
        now = time.monotonic()
        for one in flush_ids:
            del self[one], self._records[one]
            self._deleted[one] = now
        for one in list(takewhile(lambda one: now - self._deleted[one] > _REMEMBERED_S, self._deleted)):
            del self._deleted[one]

    def recently_deleted(self) -> frozenset[str]:
        """Flushes whose rows were deleted within the last minute: a moved bucket may bring a copy of them."""
        return frozenset(self._deleted)
