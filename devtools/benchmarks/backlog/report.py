"""Report of `bench backlog`; no figure if a critical trigger is unaccounted for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from devtools.benchmarks import results
from devtools.benchmarks.rates import RecordsMissing
from devtools.benchmarks.results import Goal, figure, percentile_figures
from devtools.percentiles import percentiles_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devtools.benchmarks.backlog.group_generations import Stability

GOAL_MS: Final = Goal("at most", 2_000.0)
_NONE: Final = Goal("at most", 0)


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """One worker ended on purpose, and until when it may have delayed triggers; Unix seconds."""

    what: str
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class StandardLoad:
    """The standard lane during the measurement."""

    triggers_per_s: float
    sent_per_s: float
    #: Smallest number of waiting triggers.
    least_backlog: int


def report(
    due: Mapping[str, float],
    accepted: Mapping[str, float],
    events: Sequence[WorkerEvent],
    groups: Mapping[str, Stability],
    standard: StandardLoad,
    **more: Any,
) -> dict[str, Any]:
    """`due` and `accepted`: Unix seconds by notification. `more` is added to the report.

    Raises:
        RecordsMissing: a critical trigger was never accepted, so no percentile would be true.
    """
    if missing := due.keys() - accepted.keys():
        raise RecordsMissing(f"critical triggers, without {min(missing)}", len(due) - len(missing), len(due))
    took = {notification_id: accepted[notification_id] - at for notification_id, at in due.items()}
    spans = {
        event.what: [took[one] for one, at in due.items() if event.at <= at <= event.until] for event in events
    } | {
        "the rest of the time": [
            took[one] for one, at in due.items() if not any(event.at <= at <= event.until for event in events)
        ]
    }
    figures = percentile_figures("critical trigger to provider", percentiles_of(list(took.values())), GOAL_MS)
    for name, found in spans.items():
        if found:
            figures += percentile_figures(name, percentiles_of(found))
    evicted, causeless = (sum(getattr(one, what) for one in groups.values()) for what in ("evicted", "without_cause"))
    figures += [
        figure("critical triggers, each accounted for", len(due), "triggers"),
        figure("standard triggers routed meanwhile", round(standard.triggers_per_s), "triggers/s"),
        figure("standard messages sent meanwhile", round(standard.sent_per_s), "messages/s"),
        figure("standard triggers that waited at least", standard.least_backlog, "triggers", Goal("at least", 1)),
        figure("workers evicted falsely", evicted, "workers", _NONE),
        figure("rebalances without a cause", causeless, "rebalances", _NONE),
    ]
    return results.report(
        figures,
        events=[asdict(one) for one in events],
        groups={name: asdict(one) for name, one in groups.items()},
        **more,
    )
