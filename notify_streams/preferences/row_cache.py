"""A cache of preference rows, bounded in age and in number. No I/O, no clock."""

from __future__ import annotations

from typing import Final

#: Equal rows are stored once: many users have the same few choices.
_SHARED_ROWS: Final = 1 << 16


class RowCache:
    """Two generations of rows. New rows enter the young one; the old one is dropped whole, so no row needs bookkeeping of its own.

    The generations change after half of `ttl_s`, or when the young one holds half of `limit`.
    """

    def __init__(self, ttl_s: float, limit: int = 1_000_000) -> None:
        self._ttl_s = ttl_s
        self._half = max(1, limit // 2)
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._shared: dict[bytes, bytes] = {}
        #: When the young generation began, and when the next change is due.
        self._young_since = float("-inf")
        self._next_change = float("-inf")

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def expire(self, now: float) -> None:
        """Drop rows that are too old at `now` (monotonic seconds). Call it before `get`."""
        if now < self._next_change and len(self._young) < self._half:
            return
        young_until = self._young_since + self._ttl_s
        self._old = self._young if now < young_until else {}
        self._young = {}
        self._young_since = now
        self._next_change = min(now + self._ttl_s / 2, young_until) if self._old else now + self._ttl_s / 2

    def get(self, user_id: str) -> bytes | None:
        row = self._young.get(user_id)
        return self._old.get(user_id) if row is None else row

    def put(self, user_id: str, row: bytes) -> None:
        if len(self._shared) >= _SHARED_ROWS:
            self._shared.clear()
        self._young[user_id] = self._shared.setdefault(row, row)
