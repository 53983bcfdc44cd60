"""Latencies and sending regions of the demo, from sent triggers and provider logs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from devtools.percentiles import percentiles_of
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.records.ids import trigger_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devtools.demo.region_outage import RegionOutage
    from notify_streams.admin.audit.provider_log import AcceptedMessage
    from notify_streams.settings import Settings

#: Triggers sent so soon before the kill may be in flight during it; they count for neither period.
_MARGIN_S: Final = 1.0


class SentTrigger(NamedTuple):
    """A trigger when it was first written to Kafka."""

    #: Unix seconds.
    at: float
    #: The region whose Kafka it was written to.
    entered: str
    #: The home region of its user; None if the user is unknown.
    home: str | None


class ProviderCall(NamedTuple):
    """A call for a trigger of this run that a provider accepted."""

    #: The region that made the call.
    region: str
    line: AcceptedMessage
    trigger: SentTrigger


def provider_calls(regions: Sequence[Settings], sent: Mapping[str, SentTrigger]) -> Iterator[ProviderCall]:
    """The calls in the provider logs of these regions."""
    for settings in regions:
        if settings.sandbox_record is None:
            continue
        for line in read_provider_log(settings.sandbox_record):
            trigger = sent.get(trigger_of(line.notification_id))
            if trigger is not None:
                yield ProviderCall(settings.region, line, trigger)


def latencies_ms(calls: Sequence[ProviderCall]) -> dict[str, dict[str, float]]:
    """Percentiles by lane: from the write to Kafka to the beginning of the provider call."""
    seconds: dict[str, list[float]] = {"critical": [], "standard": []}
    for _, line, trigger in calls:
        seconds["critical" if line.critical else "standard"].append(line.at - trigger.at)
    return _percentiles_ms(seconds)


def deliveries_per_s(calls: Sequence[ProviderCall]) -> int:
    """Acceptances a second, from the first trigger to the last acceptance."""
    if not calls:
        return 0
    began = min(trigger.at for _, _, trigger in calls)
    return round(len(calls) / max(0.001, max(line.done for _, line, _ in calls) - began))


def count_by_region(calls: Sequence[ProviderCall], outage: RegionOutage | None) -> dict[str, int]:
    """Notifications by the region that sent them: home, the standby during a failover, another one, or two regions."""
    senders: dict[str, set[str]] = {}
    homes: dict[str, str | None] = {}
    for region, line, trigger in calls:
        senders.setdefault(line.notification_id, set()).add(region)
        homes[line.notification_id] = trigger.home
    counts = {"home": 0, "standby": 0, "other": 0, "two": 0}
    for notification_id, regions in senders.items():
        home = homes[notification_id]
        if len(regions) > 1:
            counts["two"] += 1
        elif home in regions:
            counts["home"] += 1
        elif outage and home == outage.region and outage.standby in regions and outage.commanded_at is not None:
            counts["standby"] += 1
        else:
            counts["other"] += 1
    return counts


def outage_report(calls: Sequence[ProviderCall], outage: RegionOutage) -> dict[str, Any]:
    """The effect of an outage on the other regions' users, and the time until the standby served the region's own users.

    `others_ms`: percentiles for users and triggers of the other regions, by the period in which the trigger was sent.
    `failover_s`: from the command to the first provider call that the standby made for a user of the region.
    """
    periods = {
        "before": (0.0, outage.killed_at - _MARGIN_S),
        "while it is down": (outage.killed_at, outage.restarting_at),
        "while it starts": (outage.restarting_at, outage.back_at),
        "after": (outage.back_at, float("inf")),
    }
    others: dict[str, list[float]] = {period: [] for period in periods}
    standby_calls_at: list[float] = []
    for region, line, trigger in calls:
        if outage.region not in (trigger.home, trigger.entered):
            for period, (begin, end) in periods.items():
                if begin <= trigger.at < end:
                    others[period].append(line.at - trigger.at)
        elif outage.commanded_at is not None and region == outage.standby and trigger.home == outage.region:
            standby_calls_at.append(line.at)
    report: dict[str, Any] = {
        "region": outage.region,
        "away_s": round(outage.restarting_at - outage.killed_at, 1),
        "others_ms": _percentiles_ms(others),
    }
    if outage.commanded_at is not None:
        took_s = round(min(standby_calls_at) - outage.commanded_at, 2) if standby_calls_at else None
        report |= {"standby": outage.standby, "failover_s": took_s}
    return report


def _percentiles_ms(seconds: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    return {name: asdict(percentiles_of(values)) for name, values in seconds.items() if values}
