"""Rows remembered for a while: no longer than the time given, no more than the number given. Told the time; no I/O."""

from __future__ import annotations

from typing import Final

#: Different rows that are held once for all who have them: most people's few choices are also others'.
_SHARED: Final = 1 << 16


class RowCache:
    """Two generations of rows: new ones join the young, both age together, the old is dropped whole.

    A generation is dropped after at most `ttl_s`, or when the next one holds half of `limit`, so there is no bookkeeping for each row.
    """

    def __init__(self, ttl_s: float, limit: int = 1_000_000) -> None:
        self._ttl_s = ttl_s
        self._half = max(1, limit // 2)
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._shared: dict[bytes, bytes] = {}
        #: When the first of the young may have been put, and when the next turn is due.
        self._born = float("-inf")
        self._turn_at = float("-inf")

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def turn(self, now: float) -> None:
        """Drop what is too old at `now` (monotonic seconds); call it before `get`."""
        if now < self._turn_at and len(self._young) < self._half:
            return
        oldest_ends = self._born + self._ttl_s
        self._old = self._young if now < oldest_ends else {}
        self._young = {}
        self._born = now
        self._turn_at = min(now + self._ttl_s / 2, oldest_ends) if self._old else now + self._ttl_s / 2

    def get(self, user_id: str) -> bytes | None:
        row = self._young.get(user_id)
        return self._old.get(user_id) if row is None else row

    def put(self, user_id: str, row: bytes) -> None:
        if len(self._shared) >= _SHARED:
            self._shared.clear()
        self._young[user_id] = self._shared.setdefault(row, row)
