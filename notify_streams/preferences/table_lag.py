"""How far the table of preferences is behind the topic that feeds it: the age of the oldest change that is being worked on.

In: when a partition's batch was taken and when it was done. Out: seconds. A partition with nothing in hand is not behind: what comes is
taken at once, and while it is not, another batch is in hand whose age is told instead.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TableLag:
    """Call it for the lag in seconds, by the clock of whoever wrote the record; 0 if nothing is in hand."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._oldest_ms: dict[int, int] = {}

    def taken(self, partition: int, written_ms: int) -> None:
        """A batch is in hand whose first record was written then, in epoch milliseconds."""
        self._oldest_ms[partition] = written_ms

    def done(self, partition: int) -> None:
        """The batch is in the table."""
        self._oldest_ms.pop(partition, None)

    def forget(self) -> None:
        """The partitions were given up: what was in hand is their new owner's."""
        self._oldest_ms.clear()

    def __call__(self) -> float:
        if not self._oldest_ms:
            return 0.0
        return max(0.0, self._clock() - min(self._oldest_ms.values()) / 1000)
