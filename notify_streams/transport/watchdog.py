"""Decides whether a worker is stuck and must be restarted.

No I/O and no clock: `health_monitor.py` reads Kafka and calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from faust.types import TP


class Reason(Enum):
    """Why something counts as stuck."""

    NOT_STARTED = "assigned, but nothing is delivered from it"
    NOT_PROCESSED = "its end is ahead, and its position does not move"
    NOT_COMMITTED = "work goes on, and its commits have stopped"
    NOT_RECOVERED = "its table does not come closer to the end of its changelog"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition at one moment. A position of None: not started yet."""

    position: int | None
    end: int
    committed: int | None
    #: See `count_progress_by`; None: only the position counts.
    progress: int | None = None


@dataclass(frozen=True, slots=True)
class Stuck:
    """One partition or table that makes no progress, and for how long."""

    what: str
    reason: Reason
    for_s: float

    def __str__(self) -> str:
        return f"{self.what}: {self.reason.value} ({self.for_s:.0f} s)"


@dataclass(slots=True)
class _LastChange:
    state: tuple[int | None, ...]
    at_s: float


class Watchdog:
    """Remembers when each partition and table last made progress; one that has made none for `after_s` is stuck.

    After a pause in the observations (the process was stopped) every time starts anew.
    """

    def __init__(self, after_s: float = 30.0, longest_pause_s: float = 20.0, every_s: float = 5.0) -> None:
        """`every_s`: from one observation to the next."""
        self._after_s = after_s
        self._every_s = every_s
        self._longest_pause_s = longest_pause_s
        self._observed_s: float | None = None
        self._changes: dict[tuple[str, Reason], _LastChange] = {}
        #: Result of the last observation.
        self.stuck: tuple[Stuck, ...] = ()

    def stalled(self, now_s: float, after_s: float) -> tuple[Stuck, ...]:
        """What has made no progress for `after_s`, which may be shorter than the time after which it is stuck."""
        now_s = self._known_until(now_s)
        return tuple(
            Stuck(what, reason, now_s - change.at_s)
            for (what, reason), change in self._changes.items()
            if now_s - change.at_s >= after_s
        )

    def longest_s(self, now_s: float) -> dict[Reason, float]:
        """The longest time without progress of anything that has some to make, by reason."""
        now_s = self._known_until(now_s)
        found: dict[Reason, float] = {}
        for (_, reason), change in self._changes.items():
            found[reason] = max(found.get(reason, 0.0), now_s - change.at_s)
        return found

    def _known_until(self, now_s: float) -> float:
        """Up to when anything is known.

        While Kafka does not answer there is no observation, and nothing could make progress.
        """
        return now_s if self._observed_s is None else min(now_s, self._observed_s + self._every_s)

    def observe(
        self, now_s: float, partitions: Mapping[TP, PartitionState], recovering: Iterable[tuple[str, float]] = ()
    ) -> tuple[Stuck, ...]:
        """Add one observation.

        Args:
            recovering: names of tables that have not caught up, and when each last made progress.

        Returns:
            What is stuck now; empty is healthy.
        """
        resumed_s = 0.0
        if self._observed_s is not None and now_s - self._observed_s > self._longest_pause_s:
            self._changes = {}
            resumed_s = now_s
        self._observed_s = now_s
        since_s = {(f"table {name}", Reason.NOT_RECOVERED): max(moved_s, resumed_s) for name, moved_s in recovering}
        recovers = bool(since_s)
        changes: dict[tuple[str, Reason], _LastChange] = {}
        for tp, partition in partitions.items():
            for reason, state in _must_change(partition, recovers):
                key = (f"{tp.topic}-{tp.partition}", reason)
                last = self._changes.get(key)
                changes[key] = last if last is not None and last.state == state else _LastChange(state, now_s)
        self._changes = changes
        since_s.update((key, change.at_s) for key, change in changes.items())
        self.stuck = tuple(
            Stuck(what, reason, now_s - at_s)
            for (what, reason), at_s in since_s.items()
            if now_s - at_s >= self._after_s
        )
        return self.stuck


def _must_change(partition: PartitionState, recovers: bool) -> Iterable[tuple[Reason, tuple[int | None, ...]]]:
    """What is stuck if it does not change: the reason, and the state to compare with the next observation's."""
    if partition.position is None:
        if not recovers:
            yield Reason.NOT_STARTED, ()
        return
    if partition.end > partition.position:
        yield Reason.NOT_PROCESSED, (partition.position, partition.progress)
    if partition.position > (partition.committed or 0):
        yield Reason.NOT_COMMITTED, (partition.committed,)
