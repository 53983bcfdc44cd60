"""The summary of one worker, for `/` as JSON and for dashboards of other workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import __version__, metrics
from notify_streams.errors import StoreUnavailable
from notify_streams.web.health import Health, health_of
from notify_streams.web.lag import read_lag
from notify_streams.web.metric_readers import Times, counts, times
from notify_streams.web.providers import EndedDeliveries, calls, deliveries

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp

_STARTED_S: Final = time.monotonic()
_LAG_TIMEOUT_S: Final = 1.0


class Summary(msgspec.Struct, frozen=True):
    """Counts and times of this process since its start."""

    region: str
    role: str
    version: str
    uptime_s: float
    health: Health
    #: None if Kafka does not respond.
    lag: int | None
    partitions: int | None
    #: Whether preference checks can use Redis: it responds, and the lease is valid.
    redis_trusted: bool
    triggers: dict[str, int]
    dead_letters: dict[str, int]
    deliveries: list[EndedDeliveries]
    decision: Times
    #: From decision to provider call, by lane.
    to_provider: dict[str, Times]
    providers: dict[str, Times]


async def summary_of(worker: NotifyApp) -> Summary:
    """The present summary. Waits at most 1 s for Kafka and for Redis, and works without them."""
    try:
        partitions = await read_lag(worker, _LAG_TIMEOUT_S)
    except StoreUnavailable:
        partitions = None
    return Summary(
        region=worker.settings.region,
        role=worker.role,
        version=__version__,
        uptime_s=round(time.monotonic() - _STARTED_S, 1),
        health=health_of(worker),
        lag=None if partitions is None else sum(one.lag for one in partitions),
        partitions=None if partitions is None else len(partitions),
        redis_trusted=await worker.preferences.deltas.read(()) is not None,
        triggers={outcome: count for (outcome,), count in counts(metrics.TRIGGERS).items()},
        dead_letters={reason: count for (reason,), count in counts(metrics.DEAD_LETTERS).items()},
        deliveries=deliveries(counts(metrics.DELIVERIES)),
        decision=times(metrics.DECISION)[()],
        to_provider={lane: spread for (lane,), spread in times(metrics.TO_PROVIDER).items()},
        providers=calls(times(metrics.PROVIDER_CALL)),
    )
