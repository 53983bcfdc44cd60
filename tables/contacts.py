"""`user_contacts` -> bucket, user id -> how the person is reached, as the JSON that came: about 150 bytes a row.

Owned by whoever owns the bucket's source partitions; each router role has its own, and the registry role, which hands contacts over when a
person moves. Written by `agents.apply_contacts` and `agents.replicate`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from notify_streams import metrics
from notify_streams.app import app
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import Contacts, read_contacts
from notify_streams.regions.forwarding.headers import read_forwarding_headers
from notify_streams.regions.replication import keeps_contacts
from notify_streams.transport import BatchedTable
from tables.retry import apply_until_written

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.transport import RecordBatch

log = logging.getLogger(__name__)

contacts = BatchedTable(app, "contacts", partitions=app.settings.partitions, replication=app.settings.replication)


async def apply_contacts(batch: RecordBatch, home_of: Callable[[str], str | None]) -> bool:
    """Keep the latest contacts of each person in the batch; an older record that comes late changes nothing, and neither does one that
    entered here of somebody at home elsewhere: their home gets it, and whoever the home sends it to.

    False if the partition is another worker's by now: do not acknowledge the batch.
    """
    placement = None if app.learning is None else app.learning.placement
    assert placement is not None, "nothing is read before the worker has learnt who serves whom"
    fresh: dict[bytes, tuple[Contacts, bytes]] = {}
    for record in batch.records:
        found = read_contacts(record.value)
        if isinstance(found, Rejection):
            metrics.REJECTED_RECORDS.labels(batch.topic, found.reason.value).inc()
            log.warning(
                "record refused",
                extra={"action": "learn", "topic": batch.topic, "offset": record.offset, "detail": found.detail},
            )
            continue
        if not keeps_contacts(
            app.settings, home_of(found.user_id), placement, read_forwarding_headers(record.headers).hops
        ):
            continue
        key = found.user_id.encode()
        held = fresh[key][0] if key in fresh else _held(batch.partition, key)
        if held is None or held.updated_at <= found.updated_at:
            fresh[key] = found, record.value or b""
    return await apply_until_written(contacts, batch.partition, {key: value for key, (_, value) in fresh.items()})


def _held(bucket: int, key: bytes) -> Contacts | None:
    row = contacts.get(bucket, key)
    found = None if row is None else read_contacts(row)
    return None if isinstance(found, Rejection) else found
