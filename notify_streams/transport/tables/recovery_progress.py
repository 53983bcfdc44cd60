"""Progress of a table's recovery, for logs, metrics and `/ready`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecoveryProgress:
    """State of one table's recovery on this worker."""

    table: str
    #: Rows applied since the recovery began.
    rows: int
    #: Offsets (rows and holes) that are still to be read.
    remaining: int
    rows_per_s: float
    #: None while nothing was read.
    estimate_s: float | None
    caught_up: bool

    def __str__(self) -> str:
        if self.caught_up:
            return f"{self.table}: {self.rows} rows, caught up"
        left = "?" if self.estimate_s is None else f"{self.estimate_s:.0f} s"
        return f"{self.table}: {self.rows} rows, {self.remaining} to go, {self.rows_per_s:.0f}/s, about {left}"


class RecoveryMeter:
    """Counts the rows and offsets of one recovery."""

    def __init__(self, table: str, now_s: float) -> None:
        self._table = table
        self.restart(now_s)

    def restart(self, now_s: float) -> None:
        self._began_s = self._last_s = now_s
        self._offsets = self._rows = 0

    def add(self, rows: int, offsets: int, now_s: float) -> None:
        self._rows += rows
        self._offsets += offsets
        self._last_s = now_s

    def progress(self, remaining: int, caught_up: bool, now_s: float) -> RecoveryProgress:
        spent = max((self._last_s if caught_up else now_s) - self._began_s, 1e-9)
        offsets_per_s = self._offsets / spent
        estimate = 0.0 if caught_up else remaining / offsets_per_s if offsets_per_s else None
        return RecoveryProgress(self._table, self._rows, remaining, self._rows / spent, estimate, caught_up)
