"""`/metrics`: all metrics; sets the gauges of lag and recovery first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST

from notify_streams import metrics
from notify_streams.transport import recovery
from notify_streams.web.lag import known_lag
from notify_streams.web.responses import Content, SharedView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.transport import RecoveryProgress
    from notify_streams.web.lag import PartitionLag


class Metrics(SharedView):
    """Leaves out the lag if it is not known."""

    async def content(self) -> Content:
        set_gauges(known_lag(self.worker) or (), recovery(self.worker))
        return Content(metrics.exposition(), CONTENT_TYPE_LATEST)


def set_gauges(partitions: Iterable[PartitionLag], tables: Iterable[RecoveryProgress]) -> None:
    """Set the gauges of the present partitions, and remove those of others."""
    metrics.LAG.clear()
    for one in partitions:
        metrics.LAG.labels(one.topic, str(one.partition)).set(one.lag)
    for table in tables:
        metrics.RECOVERY_KEYS.labels(table.table).set(table.rows)
