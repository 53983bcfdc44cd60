"""`/` of a worker: its summary as JSON, for the page of the role `views`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import __version__, metrics, refusals
from notify_streams.delivery.provider_state import ProviderState
from notify_streams.retry import failing_calls
from notify_streams.transport import stalled_parts
from notify_streams.web.health import Health, health_of
from notify_streams.web.lag import known_lag
from notify_streams.web.metric_readers import Times, bucket_counts, counts, times
from notify_streams.web.responses import Content, SharedView, json_content

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp
    from notify_streams.web.metric_readers import Labels

_STARTED_S: Final = time.monotonic()
#: What stands still for less is not reported.
_STALLED_S: Final = 10.0


class EndedDeliveries(msgspec.Struct, frozen=True):
    """The number of deliveries of one channel with the same end."""

    channel: str
    state: str
    reason: str | None
    count: int


class ProviderEnds(msgspec.Struct, frozen=True):
    """The number of calls to one provider with the same end."""

    provider: str
    #: `ProviderOutcome`
    outcome: str
    #: The status, or the type of the network error: "HTTP 503", "TimeoutError"
    end: str
    count: int


class StalledPart(msgspec.Struct, frozen=True):
    """A partition or table that has made no progress for some time, although it could."""

    what: str
    reason: str
    for_s: float


class LinkState(msgspec.Struct, frozen=True):
    """Another region, to which this worker forwards."""

    region: str
    #: Since when it has accepted nothing; 0 while it accepts.
    failing_s: float


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
    #: The same as in the registration.
    id: str = ""
    #: By this machine's clock, in seconds since 1970.
    clock: float = 0.0
    stalled: list[StalledPart] = []
    #: Calls that fail at every attempt → seconds from the first failure to the last one.
    failing: dict[str, float] = {}
    #: What services have refused this process lately, one sentence each.
    refused: list[str] = []
    links: list[LinkState] = []
    provider_ends: list[ProviderEnds] = []
    #: Lane → upper bound in seconds → observations of `to_provider` up to it.
    to_provider_counts: dict[str, dict[str, int]] = {}


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
        id=worker.worker_id,
        clock=time.time(),
        stalled=[
            StalledPart(one.what, one.reason.value, round(one.for_s, 1)) for one in stalled_parts(worker, _STALLED_S)
        ],
        failing={call: round(seconds, 1) for call, seconds in failing_calls().items()},
        refused=refusals.recent(),
        links=[LinkState(one.region, round(one.failing_s(), 1)) for one in worker.remote_states],
        provider_ends=provider_ends(counts(metrics.PROVIDER_ANSWERS)),
        to_provider_counts=by_lane(bucket_counts(metrics.TO_PROVIDER)),
    )


def deliveries(found: dict[Labels, int]) -> list[EndedDeliveries]:
    """`found`: counts by (channel, state, reason)."""
    return [
        EndedDeliveries(channel, state, reason or None, count)
        for (channel, state, reason), count in sorted(found.items())
    ]


def provider_ends(found: dict[Labels, int]) -> list[ProviderEnds]:
    """`found`: counts by (provider, outcome, answer, code)."""
    ends: dict[tuple[str, str, str], int] = {}
    for (provider, outcome, answer, _), count in found.items():
        ends[provider, outcome, answer] = ends.get((provider, outcome, answer), 0) + count
    return [ProviderEnds(*end, count) for end, count in sorted(ends.items())]


def by_lane(found: dict[Labels, dict[str, int]]) -> dict[str, dict[str, int]]:
    """`found`: cumulative counts by (lane, channel)."""
    lanes: dict[str, dict[str, int]] = {}
    for (lane, _), counted in found.items():
        known = lanes.setdefault(lane, {})
        for bound, count in counted.items():
            known[bound] = known.get(bound, 0) + count
    return lanes


def calls(found: dict[Labels, Times]) -> dict[str, Times]:
    """`found`: times by (provider,)."""
    return {provider: spread for (provider,), spread in sorted(found.items())}


class SummaryView(SharedView):
    async def content(self) -> Content:
        return json_content(summary_of(self.worker))
