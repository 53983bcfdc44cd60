"""Decides whether a worker is stuck, so that it is restarted and never left.

In: positions, ends and commits of the assigned partitions, and the time. Out: what is stuck, and why. No I/O, no
clock; `watch.py` looks and asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from faust.types import TP


class Reason(Enum):
    """What stands still."""

    NOT_STARTED = "assigned, but nothing is delivered from it"
    NOT_PROCESSED = "its end is ahead, and its position does not move"
    NOT_COMMITTED = "work goes on, and its commits have stopped"
    NOT_RECOVERED = "its table does not come closer to the end of its changelog"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition at one moment. A position of None: not opened yet."""

    position: int | None
    end: int
    committed: int | None


@dataclass(frozen=True, slots=True)
class Stuck:
    """One thing that stands still, and since when it has."""

    what: str
    reason: Reason
    for_s: float

    def __str__(self) -> str:
        return f"{self.what}: {self.reason.value} ({self.for_s:.0f} s)"


@dataclass(slots=True)
class _Mark:
    state: tuple[int | None, ...]
    since_s: float


class Watchdog:
    """Remembers when each thing last moved; says what has not for `after_s`.

    A pause in the observations (the process was stopped) starts every count anew: a stopped clock proves nothing.
    """

    def __init__(self, after_s: float = 30.0, longest_pause_s: float = 20.0) -> None:
        self._after_s = after_s
        self._longest_pause_s = longest_pause_s
        self._observed_s: float | None = None
        self._marks: dict[tuple[str, Reason], _Mark] = {}
        self._stuck: tuple[Stuck, ...] = ()

    def observe(
        self, now_s: float, readings: Mapping[TP, PartitionState], recovering: Iterable[tuple[str, float]] = ()
    ) -> tuple[Stuck, ...]:
        """Take one look.

        Args:
            recovering: tables that are not caught up, and when each last moved.

        Returns:
            What is stuck now; empty is healthy.
        """
        if self._observed_s is not None and now_s - self._observed_s > self._longest_pause_s:
            self._marks.clear()
            paused_until_s = now_s
        else:
            paused_until_s = 0.0
        self._observed_s = now_s
        tables = list(recovering)
        standing = {(f"table {name}", Reason.NOT_RECOVERED): max(moved_s, paused_until_s) for name, moved_s in tables}
        seen: set[tuple[str, Reason]] = set()
        for tp, reading in readings.items():
            for reason, state in _standing(reading, recovers=bool(tables)):
                key = (f"{tp.topic}-{tp.partition}", reason)
                seen.add(key)
                mark = self._marks.get(key)
                if mark is None or mark.state != state:
                    mark = self._marks[key] = _Mark(state, now_s)
                standing[key] = mark.since_s
        self._marks = {key: mark for key, mark in self._marks.items() if key in seen}
        self._stuck = tuple(
            Stuck(what, reason, now_s - since_s)
            for (what, reason), since_s in standing.items()
            if now_s - since_s >= self._after_s
        )
        return self._stuck

    @property
    def stuck(self) -> tuple[Stuck, ...]:
        """What the last look found."""
        return self._stuck


def _standing(reading: PartitionState, recovers: bool) -> Iterable[tuple[Reason, tuple[int | None, ...]]]:
    """What must move, together with the state that shows that it moved."""
    if reading.position is None:
        if not recovers:
            yield Reason.NOT_STARTED, ()
        return
    if reading.end > reading.position:
        yield Reason.NOT_PROCESSED, (reading.position,)
    if reading.position > (reading.committed or 0):
        yield Reason.NOT_COMMITTED, (reading.committed,)
