"""The registry's replica against the table `locations`, now and then -> repairs in `user_locations`, `user_signups`; and contacts
of people who have moved away, forgotten through `user_contacts`.

A region that lost its `user_locations` gets all of it again this way. Repeated by every worker of the role without harm: the newest wins.
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
from notify_streams.registry.reconciliation import reconcile, repair_outputs
from notify_streams.registry.users_table import UsersTable
from tables.contacts import contacts
from tables.locations import locate_many, locations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from notify_streams.registry.user import User

log = logging.getLogger(__name__)


async def reconcile_now_and_then() -> None:
    """Compare at the start, and every `reconcile_every_s`."""
    await locations.wait_until_caught_up()
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
    async for repairs in reconcile(
        without_leavers(registry.scan()), locate_many, settings.region, lambda: datetime.now(UTC)
    ):
        repaired += len(repairs)
        await publish_directly(
            app,
            [
                output
                for one in repairs
                for output in repair_outputs(one, bucket_of(one.user.user_id, settings.partitions), settings)
            ],
        )
    return repaired


async def without_leavers(pages: AsyncIterator[list[User]]) -> AsyncIterator[Sequence[User]]:
    """The pages as they are; of people whose contacts may not be here any more, they are forgotten."""
    placement = None if app.learning is None else app.learning.placement
    async for page in pages:
        if placement is not None:
            held = locate_many([user.user_id for user in page])
            leavers = [
                user.user_id for user, row in zip(page, held, strict=True) if must_be_deleted(user, row, placement)
            ]
            buckets = [bucket_of(user_id, app.settings.partitions) for user_id in leavers]
            rows = [contacts.get(bucket, one.encode()) for one, bucket in zip(leavers, buckets, strict=True)]
            await publish_directly(
                app, [out for row, bucket in zip(rows, buckets, strict=True) for out in deletion_records(row, bucket)]
            )
        yield page


app.task(reconcile_now_and_then)
