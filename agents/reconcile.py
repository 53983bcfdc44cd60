"""Registry → `user_locations`, `user_signups`, `user_contacts`, as repairs.

Runs at the start and every `reconcile_every_s`. A region that lost `user_locations` gets it back this way. Every worker of the role does it,
without harm: readers keep the newest record.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from notify_streams.app import app
from notify_streams.errors import NotifyError
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.records.partitioner import bucket_of
from notify_streams.registry.contact_retention import deletion_records, must_be_deleted
from notify_streams.registry.reconciliation import repair, repair_outputs
from notify_streams.registry.users_table import UsersTable
from notify_streams.transport import ReplicatedTable
from tables.locations import locate, locations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from notify_streams.records.batch import OutboxRecord, Producer
    from notify_streams.records.user_records import Contacts
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.regions.locations import Location
    from notify_streams.registry.user import User
    from notify_streams.settings import Settings

log = logging.getLogger(__name__)


async def reconcile(
    pages: AsyncIterator[Sequence[User]],
    locate: Callable[[str], Location | None],
    contacts_of: Callable[[Mapping[str, int]], Awaitable[Mapping[str, Contacts]]],
    placement: Placement | None,
    settings: Settings,
    producer: Producer,
) -> int:
    """Compare registry rows with this region's locations and publish what repairs them; returns the number of repairs.

    Also deletes contacts that may not lie here any more; not while the placement is unknown.
    """
    repairs = 0
    async for page in pages:
        now = datetime.now(UTC)
        known = [(user, locate(user.user_id)) for user in page]
        leaving = [user.user_id for user, location in known if placement and must_be_deleted(user, location, placement)]
        stored = await contacts_of({user_id: bucket_of(user_id, settings.partitions) for user_id in leaving})
        outputs: list[OutboxRecord] = []
        for user, location in known:
            bucket = bucket_of(user.user_id, settings.partitions)
            outputs += deletion_records(stored.get(user.user_id), bucket)
            found = repair(user, location, settings.region, now)
            if found is not None:
                repairs += 1
                outputs += repair_outputs(found, bucket, settings)
        await publish_directly(producer, outputs)
    return repairs


async def reconcile_task() -> None:
    assert isinstance(locations, ReplicatedTable), f"role {app.role} has all locations"
    await locations.wait_until_caught_up()
    registry = UsersTable(app.settings)
    await registry.start()
    try:
        while True:
            placement = None if app.placement_follower is None else app.placement_follower.placement
            try:
                repairs = await reconcile(registry.scan(), locate, app.contacts.read, placement, app.settings, app)
                log.info("locations reconciled", extra={"action": "locations.reconcile", "repairs": repairs})
            except NotifyError as error:
                log.warning(
                    "reconciliation failed, will be repeated",
                    extra={"action": "locations.reconcile_failed", "error": error},
                )
            await asyncio.sleep(app.settings.reconcile_every_s)
    finally:
        await registry.close()


app.task(reconcile_task)
