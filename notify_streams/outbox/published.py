"""Rows of one worker that are in Kafka: those still to be deleted, and the flushes whose rows it deleted lately. No I/O."""

from __future__ import annotations

import time
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Longer than a bucket's move holds its writes, while rows that are deleted here may be on the other shard already.
_REMEMBERED_S: Final = 60.0


class Published(dict[str, dict[str, Any]]):
    """Flush id -> a filter of its rows, from their publication to their deletion."""

    def __init__(self) -> None:
        super().__init__()
        self._deleted: dict[str, float] = {}

    def are_deleted(self, flush_ids: Iterable[str]) -> None:
        """The rows of these flushes are gone."""
        now = time.monotonic()
        for one in flush_ids:
            del self[one]
            self._deleted[one] = now
        for one in list(takewhile(lambda one: now - self._deleted[one] > _REMEMBERED_S, self._deleted)):
            del self._deleted[one]

    def deleted_lately(self) -> frozenset[str]:
        """Flushes whose rows went within the last minute: a bucket that is moved may bring a copy of them along."""
        return frozenset(self._deleted)
