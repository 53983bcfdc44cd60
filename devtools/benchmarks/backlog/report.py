"""What `bench backlog` says. Moments, events and counts in, the report out; refuses to make a figure of an incomplete account. No I/O."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from devtools.percentiles import percentiles_of
from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devtools.benchmarks.backlog.group_generations import Stability
    from devtools.percentiles import Percentiles

GOAL_MS: Final = 2_000.0


@dataclass(frozen=True, slots=True)
class Event:
    """What was done to a worker, and how long its traces were looked for; Unix seconds."""

    what: str
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Standard:
    """The backlog meanwhile."""

    triggers_per_s: float
    sent_per_s: float
    #: Triggers that waited when fewest did.
    least_backlog: int


def latencies(due: Mapping[str, float], accepted: Mapping[str, float]) -> dict[str, float]:
    """Seconds from the scheduled moment to acceptance, by notification.

    Raises:
        NotifyError: one was never accepted, so that no quantile would be true.
    """
    missing = [identity for identity in due if identity not in accepted]
    if missing:
        raise NotifyError(
            f"{len(missing)} of {len(due)} critical triggers never reached the provider, such as {missing[0]}: no figure"
        )
    return {identity: accepted[identity] - at for identity, at in due.items()}


def report(
    due: Mapping[str, float],
    accepted: Mapping[str, float],
    events: Sequence[Event],
    groups: Mapping[str, Stability],
    standard: Standard,
    surroundings: Mapping[str, Any],
) -> dict[str, Any]:
    """`due` and `accepted`: Unix seconds by notification.

    Raises:
        NotifyError: a critical trigger is unaccounted for.
    """
    took = latencies(due, accepted)
    whole = percentiles_of(list(took.values()))
    figures = _told("critical trigger to provider", whole, GOAL_MS)
    for event in events:
        near = [took[identity] for identity, at in due.items() if event.at <= at <= event.until]
        if near:
            figures += _told(event.what, percentiles_of(near), None)
    calm = [took[identity] for identity, at in due.items() if not any(one.at <= at <= one.until for one in events)]
    if calm:
        figures += _told("the rest of the time", percentiles_of(calm), None)
    figures += [
        _figure("critical triggers, each accounted for", len(due), "triggers"),
        _figure("standard triggers routed meanwhile", round(standard.triggers_per_s), "triggers/s"),
        _figure("standard messages sent meanwhile", round(standard.sent_per_s), "messages/s"),
        _figure("standard triggers that waited at least", standard.least_backlog, "triggers", 1, "at least"),
        _figure("workers evicted falsely", sum(one.evicted for one in groups.values()), "workers", 0),
        _figure("rebalances without a cause", sum(one.without_cause for one in groups.values()), "rebalances", 0),
    ]
    return {
        "holds": all(one["holds"] for one in figures),
        "figures": figures,
        "events": [asdict(one) for one in events],
        "groups": {name: asdict(one) for name, one in groups.items()},
        **surroundings,
    }


def _told(name: str, spread: Percentiles, goal_ms: float | None) -> list[dict[str, Any]]:
    return [
        _figure(f"{name}, p50", spread.p50, "ms"),
        _figure(f"{name}, p99", spread.p99, "ms", goal_ms),
        _figure(f"{name}, max", spread.max, "ms"),
    ]


def _figure(name: str, value: float, unit: str, goal: float | None = None, sense: str = "at most") -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": None,
        "reference_value": None,
        "ratio": None,
        "goal": None if goal is None else f"{sense} {goal:g} {unit}",
        "holds": goal is None or (value <= goal if sense == "at most" else value >= goal),
    }
