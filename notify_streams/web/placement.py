"""Who serves whom, on any role: what the worker has learnt, and on roles that do not learn, what the region's control log says now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.errors import StoreUnavailable
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import fold, initial_homes

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp


async def placement_of(worker: NotifyApp) -> Placement:
    """The seats as this region knows them.

    Raises:
        RetryLater: Kafka does not answer.
        StoreUnavailable: this worker has not learnt it yet.
    """
    learning = worker.placement_follower
    if learning is not None:
        placement = learning.placement
        if placement is None:
            raise StoreUnavailable(f"who serves whom is not known here yet: {learning.waiting_for}")
        return placement
    here = worker.settings.region
    log = KafkaControlLog(here, worker.settings.kafka_connection())
    try:
        records, _ = await log.read()
    finally:
        await log.close()
    return Placement(here, fold(initial_homes(worker.settings.regions), records))
