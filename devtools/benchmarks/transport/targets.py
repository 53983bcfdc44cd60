"""The targets of `bench transport`: each case, its reference, its goal."""

from __future__ import annotations

from typing import Final

from devtools.benchmarks.results import Goal, Target

_AT_MOST_150: Final = Goal("at most", 150)


def _at_least(ratio: float) -> Goal:
    return Goal("at least", ratio, of_ratio=True)


TARGETS: Final = (
    Target("no-op agent", "records/s", "read batched", "read aiokafka", _at_least(0.85)),
    Target("no-op agent, against stock Faust", "records/s", "read batched", "read stock Faust", _at_least(40)),
    Target("consume and produce, acks=all", "records/s", "copy batched", "copy aiokafka", _at_least(0.85)),
    Target("consume and produce, against librdkafka", "records/s", "copy batched", "copy librdkafka", _at_least(0.8)),
    Target("recovery in memory", "keys/s", "recover batched memory", "recover stock memory", _at_least(40)),
    Target("recovery on disk", "keys/s", "recover batched disk", "recover stock rocks", _at_least(20)),
    Target(
        "one record at a time at 100/s, p99",
        "ms",
        "latency batched",
        "latency aiokafka",
        Goal("at most", 1.5, of_ratio=True),
    ),
    Target("1M rows user to region, in memory", "MB", "memory region memory", None, _AT_MOST_150),
    Target("1M rows user to region, on disk", "MB", "memory region disk", None, _AT_MOST_150),
    Target("1M rows user to preferences, in memory", "MB", "memory preferences memory", None, _AT_MOST_150),
    Target("1M rows user to preferences, on disk", "MB", "memory preferences disk", None, _AT_MOST_150),
)
