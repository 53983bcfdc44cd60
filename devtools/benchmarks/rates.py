"""Throughput of a run from samples of its progress; the error for lost records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Share of a run at each end that is not measured: a worker warms up at the start and runs out of records at the end.
_EDGE: Final = 0.1


class RecordsMissing(NotifyError):
    """A run lost records, so it has no figure."""

    def __init__(self, case: str, found: int, wanted: int) -> None:
        super().__init__(f"{case}: {found} of {wanted} records arrived; a run that lost records has no figure")


def steady_rate(samples: Sequence[tuple[float, int]], count: int) -> float:
    """Records per second over the middle 80 % of a run of `count` records. `samples`: (seconds, records done).

    Raises:
        NotifyError: too few samples.
    """
    middle = [(at, done) for at, done in samples if _EDGE * count <= done <= (1 - _EDGE) * count]
    if len(middle) < 2 or middle[-1][1] == middle[0][1]:
        raise NotifyError("the run was too short to measure: use more --triggers")
    (began, low), (ended, high) = middle[0], middle[-1]
    return (high - low) / (ended - began)
