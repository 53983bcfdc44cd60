"""How far the preferences table is behind its topic, in seconds.

A partition without a batch in progress is not behind: its next batch starts at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TableLag:
    """Call it for the lag in seconds, by the clock of the producer that wrote the record; 0 while no batch is in progress."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._oldest_ms: dict[int, int] = {}

    def started(self, partition: int, written_ms: int) -> None:
        """A batch is in progress. `written_ms`: the timestamp of its first record."""
        self._oldest_ms[partition] = written_ms

    def finished(self, partition: int) -> None:
        """The table has the batch."""
        self._oldest_ms.pop(partition, None)

    def reset(self) -> None:
        """Partitions were revoked: their batches in progress belong to the new owner."""
        self._oldest_ms.clear()

    def __call__(self) -> float:
        if not self._oldest_ms:
            return 0.0
        return max(0.0, self._clock() - min(self._oldest_ms.values()) / 1000)
