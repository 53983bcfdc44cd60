"""Rows of one worker that are in Kafka: those still to be deleted, and the flushes whose rows it deleted lately. No I/O.

A row stays until its deletion is worth a command of its own: at some hundred triggers a second, one for each flush would take a
fifth of a transaction's time. What stays is published again after a crash, so it may be a moment's flow at most.
"""

from __future__ import annotations

import time
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.outbox.flush_plan import OutboxRow

#: Longer than a bucket's move holds its writes, while rows that are deleted here may be on the other shard already.
_REMEMBERED_S: Final = 60.0
#: So many flushes, or so many records in them, are deleted with the next transaction.
_FLUSHES: Final = 8
_RECORDS: Final = 128


class PendingDeletes(dict[str, dict[str, Any]]):
    """Flush id -> a filter of its rows, from their publication to their deletion."""

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[str, int] = {}
        self._deleted: dict[str, float] = {}

    def add(self, flush_id: str, rows: Sequence[OutboxRow]) -> None:
        """These rows of a flush are in Kafka."""
        buckets = sorted({row.partition for row in rows})
        self[flush_id] = {"bucket": {"$in": buckets}, "_id": {"$in": [row.document["_id"] for row in rows]}}
        self._records[flush_id] = sum(len(row.records) for row in rows)

    def due(self) -> dict[str, dict[str, Any]]:
        """What goes with the next transaction: everything or, while that is little, nothing."""
        return dict(self) if len(self) >= _FLUSHES or sum(self._records.values()) >= _RECORDS else {}

    def are_deleted(self, flush_ids: Iterable[str]) -> None:
        """The rows of these flushes are gone."""
        now = time.monotonic()
        for one in flush_ids:
            del self[one], self._records[one]
            self._deleted[one] = now
        for one in list(takewhile(lambda one: now - self._deleted[one] > _REMEMBERED_S, self._deleted)):
            del self._deleted[one]

    def deleted_lately(self) -> frozenset[str]:
        """Flushes whose rows went within the last minute: a bucket that is moved may bring a copy of them along."""
        return frozenset(self._deleted)
