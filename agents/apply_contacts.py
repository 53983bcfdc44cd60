"""`user_contacts` → contacts in MongoDB, `contact_rows`, `forward.<region>`.

Only the registry role does this. A batch is acknowledged when everything that follows from it is published; after a crash it is published
again, and readers keep the newest.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.records.user_records import arrival_ms, encode_record, read_contacts
from notify_streams.regions.forwarding.headers import read_forwarding_headers
from notify_streams.regions.replication import contact_copies, may_hold_contacts
from notify_streams.registry.contact_retention import is_out_of_date
from notify_streams.registry.pending_signups import PendingSignups
from notify_streams.registry.record_sorting import drop_erased, sort_batch
from notify_streams.retry import RetryPolicy
from notify_streams.stores.shard_clocks import own_now
from notify_streams.topics import CONTACT_ROWS, USER_CONTACTS
from tables.locations import locate

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from faust.types import StreamT

    from notify_streams.records.batch import Producer
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.registry.contact_repository import ContactRepository
    from notify_streams.registry.record_sorting import ErasedAmong
    from notify_streams.settings import Settings
    from notify_streams.transport import BatchEvent

_RETRY: Final = RetryPolicy("contacts.apply", first_s=0.05, max_s=2.0)
#: Shared with `agents.sign_up`.
pending_signups = PendingSignups(app.settings.regions, locate)


async def apply_contacts(
    event: BatchEvent,
    repository: ContactRepository,
    producer: Producer,
    home_of: Callable[[str], str | None],
    placement: Callable[[], Placement],
    settings: Settings,
    erased_among: ErasedAmong,
    now: Callable[[int], datetime] = own_now,
) -> None:
    """Store the contacts that may lie here, and copy records to the user's home region and its standby.

    For a user whose home region is unknown, `agents.sign_up` makes the copies. It adds the home to `home_of` before it reads the
    contacts, and here they are durable before `home_of` is asked: so one of the two makes them.

    Args:
        now: the latest time that contacts in a bucket may have. With a clock that is behind they would lose against earlier ones.
    """
    batch, here = event.value, placement()
    now_ms = int(now(batch.partition).timestamp() * 1000)
    found = sort_batch(
        batch, lambda record: read_contacts(record.value, arrival_ms(record, now_ms), record.key), settings.partitions
    )
    await drop_erased(found, batch, erased_among)
    kept = [
        (batch.partition, contacts)
        for record, contacts in found.valid
        if may_hold_contacts(settings, home_of(contacts.user_id), here, read_forwarding_headers(record.headers).hops)
        and not is_out_of_date(contacts, record.headers, home_of(contacts.user_id), here)
    ]
    stored = await _RETRY.call(repository.apply, kept)
    outputs = found.outputs
    outputs += [(CONTACT_ROWS, batch.partition, user.encode(), found.row(), ()) for user, found in stored.items()]
    for record, contacts in found.valid:
        outputs += contact_copies(
            record, encode_record(contacts), batch.partition, settings, home_of(contacts.user_id), here
        )
    await publish_directly(producer, outputs)
    event.ack()


@app.agent(app.batched_topic(USER_CONTACTS))
async def contacts_agent(batches: StreamT[Any]) -> None:
    """Partitions run concurrently: one that waits for its shard delays no other."""
    await process_partitions_concurrently(
        batches,
        partial(
            apply_contacts,
            repository=app.contacts,
            producer=app,
            home_of=pending_signups.home,
            placement=app.placement,
            settings=app.settings,
            erased_among=app.preferences.erased.among,
            now=app.later_now,
        ),
    )
