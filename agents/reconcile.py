"""The registry's replica against the table `locations`, now and then -> repairs in `user_locations`, `user_signups`.

A region that lost its `user_locations` gets all of it again this way. Repeated by every worker of the role without harm: the newest wins.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from notify_streams.app import app
from notify_streams.errors import NotifyError
from notify_streams.outbox.directly import write
from notify_streams.records.buckets import bucket_of
from notify_streams.registry.reconciliation import reconcile, repair_outputs
from notify_streams.registry.users_table import UsersTable
from tables.locations import locate_many, locations

log = logging.getLogger(__name__)


async def reconcile_now_and_then() -> None:
    """Compare at the start, and every `reconcile_every_s`."""
    await locations.caught_up()
    registry = UsersTable(app.settings)
    await registry.start()
    try:
        while True:
            try:
                repaired = await reconcile_once(registry)
                log.info("locations compared with the registry", extra={"action": "reconcile", "repaired": repaired})
            except NotifyError as error:
                log.warning("not compared this time", extra={"action": "reconcile", "error": str(error)})
            await asyncio.sleep(app.settings.reconcile_every_s)
    finally:
        await registry.close()


async def reconcile_once(registry: UsersTable) -> int:
    """How many people's locations were not what the registry says; their repairs are written."""
    settings, repaired = app.settings, 0
    async for repairs in reconcile(registry.scan(), locate_many, settings.region, lambda: datetime.now(UTC)):
        repaired += len(repairs)
        await write(
            app,
            [
                output
                for one in repairs
                for output in repair_outputs(one, bucket_of(one.user.user_id, settings.partitions), settings)
            ],
        )
    return repaired


app.task(reconcile_now_and_then)
