"""`/metrics`: Prometheus' text format, with the gauges that only a look can tell set at the scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST

from notify_streams import metrics
from notify_streams.errors import StoreUnavailable
from notify_streams.transport import recovery
from notify_streams.web.lag import read_lag
from notify_streams.web.responses import WebView, respond

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.web import Request, Response

    from notify_streams.transport import RecoveryProgress
    from notify_streams.web.lag import PartitionLag


class Metrics(WebView):
    """Never fails for want of Kafka: a lag that is not known is left out."""

    async def get(self, request: Request) -> Response:
        try:
            partitions = await read_lag(self.worker)
        except StoreUnavailable:
            partitions = []
        look(partitions, recovery(self.worker))
        return respond(metrics.exposition(), CONTENT_TYPE_LATEST)


def look(partitions: Iterable[PartitionLag], tables: Iterable[RecoveryProgress]) -> None:
    """Set the gauges; a partition that is another worker's by now has none."""
    metrics.LAG.clear()
    for one in partitions:
        metrics.LAG.labels(one.topic, str(one.partition)).set(one.lag)
    for table in tables:
        metrics.RECOVERY_KEYS.labels(table.table).set(table.rows)
