"""`/` of a worker: its summary as JSON, for the page of the role `views`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import __version__, metrics
from notify_streams.delivery.provider_state import ProviderState
from notify_streams.web.health import Health, health_of
from notify_streams.web.lag import known_lag
from notify_streams.web.metric_readers import Times, counts, times
from notify_streams.web.responses import Content, SharedView, json_content

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp
    from notify_streams.web.metric_readers import Labels

_STARTED_S: Final = time.monotonic()


class EndedDeliveries(msgspec.Struct, frozen=True):
    """The number of deliveries of one channel with the same end."""

    channel: str
    state: str
    reason: str | None
    count: int


class Summary(msgspec.Struct, frozen=True):
    """Counts and times of this process since its start."""

    region: str
    role: str
    version: str
    uptime_s: float
    health: Health
    #: None if it is not known: Kafka does not respond.
    lag: int | None
    partitions: int | None
    #: Whether preference checks can use Redis: it responded, and the lease was renewed.
    redis_trusted: bool
    #: Regions whose control log this worker could not read; only the forward role reads them.
    unreachable: list[str]
    triggers: dict[str, int]
    dead_letters: dict[str, int]
    deliveries: list[EndedDeliveries]
    decision: Times
    #: From the trigger's entry to the provider call, by lane.
    to_provider: dict[str, Times]
    providers: dict[str, Times]
    #: None on roles without a provider.
    provider_state: ProviderState | None = None


def summary_of(worker: NotifyApp) -> Summary:
    """The present summary, without I/O."""
    partitions = known_lag(worker)
    return Summary(
        region=worker.settings.region,
        role=worker.role,
        version=__version__,
        uptime_s=round(time.monotonic() - _STARTED_S, 1),
        health=health_of(worker),
        lag=None if partitions is None else sum(one.lag for one in partitions),
        partitions=None if partitions is None else len(partitions),
        redis_trusted=worker.preferences.lease_renewal.works,
        unreachable=sorted(worker.placement_follower.unreachable) if worker.placement_follower else [],
        triggers={outcome: count for (outcome,), count in counts(metrics.TRIGGERS).items()},
        dead_letters={reason: count for (reason,), count in counts(metrics.DEAD_LETTERS).items()},
        deliveries=deliveries(counts(metrics.DELIVERIES)),
        decision=times(metrics.DECISION)[()],
        to_provider={lane: spread for (lane, _), spread in times(metrics.TO_PROVIDER).items()},
        provider_state=None if worker.delivery is None else worker.delivery.provider_state(),
        providers=calls(times(metrics.PROVIDER_CALL)),
    )


def deliveries(found: dict[Labels, int]) -> list[EndedDeliveries]:
    """`found`: counts by (channel, state, reason)."""
    return [
        EndedDeliveries(channel, state, reason or None, count)
        for (channel, state, reason), count in sorted(found.items())
    ]


def calls(found: dict[Labels, Times]) -> dict[str, Times]:
    """`found`: times by (provider,)."""
    return {provider: spread for (provider,), spread in sorted(found.items())}


class SummaryView(SharedView):
    async def content(self) -> Content:
        return json_content(summary_of(self.worker))
