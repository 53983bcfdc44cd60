"""Who told whom, and how soon: what was sent, beside what the providers' own records say. In: both. Out: counts and milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.records.ids import trigger_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devtools.demo.region_outage import RegionOutage
    from notify_streams.admin.audit.provider_log import AcceptedMessage
    from notify_streams.settings import Settings

#: What was sent so soon before a kill may be on its way when it comes, and belongs to neither side.
_MARGIN_S: Final = 1.0


class SentTrigger(NamedTuple):
    """A trigger as it was handed to Kafka, the first time."""

    #: Unix seconds.
    at: float
    #: Region whose Kafka it was.
    entered: str
    #: Region where its person is at home, None if the trigger names nobody.
    home: str | None


class ProviderCall(NamedTuple):
    """A call that a provider accepted for a trigger of this run."""

    #: Region that made it.
    region: str
    line: AcceptedMessage
    trigger: SentTrigger


def provider_calls(regions: Sequence[Settings], sent: Mapping[str, SentTrigger]) -> Iterator[ProviderCall]:
    """What the sandboxes of these regions noted."""
    for settings in regions:
        if settings.sandbox_record is None:
            continue
        for line in read_provider_log(settings.sandbox_record):
            trigger = sent.get(trigger_of(line.notification_id))
            if trigger is not None:
                yield ProviderCall(settings.region, line, trigger)


def latencies_ms(told: Sequence[ProviderCall]) -> dict[str, dict[str, float]]:
    """From the moment a trigger was handed to Kafka to the moment its provider call began, by lane: p50, p99, max, count."""
    found: dict[str, list[float]] = {"critical": [], "standard": []}
    for _, line, trigger in told:
        found["critical" if line.critical else "standard"].append(1000 * (line.at - trigger.at))
    return {lane: _quantiles(values) for lane, values in found.items() if values}


def count_by_region(told: Sequence[ProviderCall], loss: RegionOutage | None) -> dict[str, int]:
    """Notifications by who told the person: home, the standby of the region that was lost, anybody else, or two regions."""
    tellers: dict[str, set[str]] = {}
    homes: dict[str, str | None] = {}
    for region, line, trigger in told:
        tellers.setdefault(line.notification_id, set()).add(region)
        homes[line.notification_id] = trigger.home
    counts = {"home": 0, "standby": 0, "elsewhere": 0, "by two": 0}
    for notification, by in tellers.items():
        home = homes[notification]
        if len(by) > 1:
            counts["by two"] += 1
        elif home in by:
            counts["home"] += 1
        elif loss is not None and loss.standby in by and home == loss.region and loss.commanded_at is not None:
            counts["standby"] += 1
        else:
            counts["elsewhere"] += 1
    return counts


def outage_report(told: Sequence[ProviderCall], loss: RegionOutage) -> dict[str, Any]:
    """What the loss of a region meant to the people of the others, and how soon its own were served by the standby.

    `others_ms`: triggers that entered in regions that were not lost, for people at home there, by when they were sent.
    `failover_s`: from the command to the first call of the standby's providers for one of the lost region's people.
    """
    spans = {
        "before": (0.0, loss.killed_at - _MARGIN_S),
        "while it is away": (loss.killed_at, loss.returning_at),
        "while it returns": (loss.returning_at, loss.back_at),
        "after": (loss.back_at, float("inf")),
    }
    others: dict[str, list[float]] = {span: [] for span in spans}
    served_at: list[float] = []
    for region, line, trigger in told:
        if loss.region not in (trigger.home, trigger.entered):
            for span, (begins, ends) in spans.items():
                if begins <= trigger.at < ends:
                    others[span].append(1000 * (line.at - trigger.at))
        elif loss.commanded_at is not None and region == loss.standby and trigger.home == loss.region:
            served_at.append(line.at)
    found: dict[str, Any] = {
        "region": loss.region,
        "away_s": round(loss.returning_at - loss.killed_at, 1),
        "others_ms": {span: _quantiles(values) for span, values in others.items() if values},
    }
    if loss.commanded_at is not None:
        took_s = round(min(served_at) - loss.commanded_at, 2) if served_at else None
        found |= {"standby": loss.standby, "failover_s": took_s}
    return found


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return {"p50": at(0.5), "p99": at(0.99), "max": round(ordered[-1], 1), "count": len(ordered)}
