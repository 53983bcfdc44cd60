"""Rows remembered for a while: no longer than the time given, no more than the number given. Told the time; no I/O."""

from __future__ import annotations

from typing import Final

#: About what one remembered person costs: a short id, a row, and their place in a dict (`ops.bench_preferences` measures it).
BYTES_A_ROW: Final = 150


class RowCache:
    """Two generations of rows: new ones join the young, both age together, the old is dropped whole.

    A generation is dropped after at most `ttl_s`, or when it holds half of `limit`, so there is no bookkeeping for each row.
    """

    def __init__(self, ttl_s: float, limit: int = 1_000_000) -> None:
        self._half_life_s = ttl_s / 2
        self._half = max(1, limit // 2)
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._turn_at = float("-inf")

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def turn(self, now: float) -> None:
        """Drop what is too old at `now` (monotonic seconds); call it before `get`."""
        if now < self._turn_at and len(self._young) < self._half:
            return
        # Nobody asked for longer than a whole life: the young are too old as well.
        self._old = self._young if now < self._turn_at + self._half_life_s else {}
        self._young = {}
        self._turn_at = now + self._half_life_s

    def get(self, user_id: str) -> bytes | None:
        row = self._young.get(user_id)
        return self._old.get(user_id) if row is None else row

    def put(self, user_id: str, row: bytes) -> None:
        self._young[user_id] = row
