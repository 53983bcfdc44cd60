"""Records that Kafka deleted before a role had read them, as the ledgers count."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from notify_streams.web.verdict.counters import WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class LostRecords:
    """The counts `lost` of each role within the window. Times are seconds of one monotonic clock."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        #: The last one before the window, and those within it.
        self._known: deque[tuple[float, Counter[str]]] = deque()

    def add(self, now: float, rows: Sequence[Mapping[str, Any]] | None) -> dict[str, int]:
        """By how much the counts have grown, of the roles whose count has.

        Args:
            rows: all rows of the ledger; None: not all could be read. What was lost meanwhile is found at the next reading.
        """
        if rows is not None:
            lost: Counter[str] = Counter()
            for row in rows:
                lost[str(row.get("role", "?"))] += row.get("lost", 0)
            self._known.append((now, lost))
        while len(self._known) > 1 and self._known[1][0] <= now - self._window_s:
            self._known.popleft()
        if not self._known:
            return {}
        (_, first), (_, last) = self._known[0], self._known[-1]
        return {role: count - first[role] for role, count in last.items() if count > first[role]}
