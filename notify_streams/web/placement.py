"""The present placement, on any role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.errors import StoreUnavailable
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import fold, initial_homes

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp


async def current_placement(worker: NotifyApp) -> Placement:
    """The placement that this role follows; on other roles, read from the region's control log.

    Raises:
        RetryLater: Kafka does not respond.
        StoreUnavailable: this worker does not know the placement yet.
    """
    follower = worker.placement_follower
    if follower is not None:
        placement = follower.placement
        if placement is None:
            raise StoreUnavailable(f"this worker does not know the placement yet: it waits for {follower.waiting_for}")
        return placement
    here = worker.settings.region
    log = KafkaControlLog(here, worker.settings.kafka_connection())
    try:
        records, _ = await log.read()
    finally:
        await log.close()
    return Placement(here, fold(initial_homes(worker.settings.regions), records))
