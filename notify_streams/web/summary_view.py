"""`/` of a worker: its summary as JSON, for the page of the role `views`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from notify_streams import __version__, metrics, refusals
from notify_streams.retry import failing_calls
from notify_streams.transport import stalled_parts
from notify_streams.web.health import health_of
from notify_streams.web.lag import known_lag
from notify_streams.web.metric_readers import bucket_counts, counts, times
from notify_streams.web.responses import Content, SharedView, json_content
from notify_streams.web.summary import EndedDeliveries, LinkState, ProviderEnds, StalledPart, Summary

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp
    from notify_streams.web.metric_readers import Labels, Times

_STARTED_S: Final = time.monotonic()
#: What stands still for less is not reported.
_STALLED_S: Final = 10.0


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
