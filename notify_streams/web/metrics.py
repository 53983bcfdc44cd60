"""`/metrics`: all metrics; sets the gauges of lag and recovery first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST

from notify_streams import metrics, refusals
from notify_streams.transport import kafka_silent_s, recovery, stalled
from notify_streams.web.health import health_of
from notify_streams.web.lag import known_lag
from notify_streams.web.responses import Content, SharedView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.app import NotifyApp
    from notify_streams.transport import RecoveryProgress
    from notify_streams.web.lag import PartitionLag


class Metrics(SharedView):
    """Leaves out the lag if it is not known."""

    async def content(self) -> Content:
        set_gauges(known_lag(self.worker) or (), recovery(self.worker))
        set_worker_gauges(self.worker)
        return Content(metrics.exposition(), CONTENT_TYPE_LATEST)


def set_worker_gauges(worker: NotifyApp) -> None:
    """Set what is read from the worker's state."""
    metrics.READY.set(health_of(worker).ready)
    metrics.CLOCK.set(time.time())
    metrics.KAFKA_SILENT.set(kafka_silent_s(worker))
    metrics.SHARD_SILENT.set(len(worker.shards.directory.expired()))
    metrics.REFUSALS.set(len(refusals.recent()))
    for reason, seconds in stalled(worker).items():
        metrics.STALLED.labels(reason).set(seconds)
    if worker.delivery is None:
        return
    first = worker.delivery.provider_state()
    for one in (first, *first.further):
        metrics.PROVIDER_CALLS.labels(one.provider).set(one.calls)
        if one.calls_per_s is not None:
            metrics.PROVIDER_LIMIT.labels(one.provider).set(one.calls_per_s)


def set_gauges(partitions: Iterable[PartitionLag], tables: Iterable[RecoveryProgress]) -> None:
    """Set the gauges of the present partitions, and remove those of others."""
    metrics.LAG.clear()
    for one in partitions:
        metrics.LAG.labels(one.topic, str(one.partition)).set(one.lag)
    for table in tables:
        metrics.RECOVERY_KEYS.labels(table.table).set(table.rows)
