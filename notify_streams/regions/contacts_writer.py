"""Writes contacts records to the table `contacts`, as far as they may lie here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import Contacts, read_contacts
from notify_streams.regions.forwarding.headers import read_forwarding_headers
from notify_streams.regions.replication import may_hold_contacts
from notify_streams.rejections import reject
from notify_streams.table_writes import write_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.records.batch import Batch
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.settings import Settings
    from notify_streams.table_writes import Table


class ContactsWriter:
    """Writes the table `contacts` of one role."""

    def __init__(
        self,
        table: Table,
        home_of: Callable[[str], str | None],
        placement: Callable[[], Placement],
        settings: Settings,
    ) -> None:
        """
        Args:
            home_of: a user's home region; None for an unknown user.
        """
        self._table = table
        self._home_of = home_of
        self._placement = placement
        self._settings = settings

    async def apply(self, batch: Batch) -> bool:
        """Write the newest contacts of each user. False: another worker owns the partition; do not acknowledge the batch.

        A record that entered here for a user whose contacts may not lie here is skipped: the registry role copies it to the home region.
        """
        rows, rejected = self._rows(batch, self._placement())
        for offset, rejection in rejected:
            reject(batch.topic, offset, rejection)
        return await write_rows(self._table, batch.partition, rows)

    def _rows(self, batch: Batch, placement: Placement) -> tuple[dict[bytes, bytes], list[tuple[int, Rejection]]]:
        newest: dict[bytes, tuple[Contacts, bytes]] = {}
        rejected = []
        for record in batch.records:
            found = read_contacts(record.value)
            if isinstance(found, Rejection):
                rejected.append((record.offset, found))
                continue
            hops = read_forwarding_headers(record.headers).hops
            if not may_hold_contacts(self._settings, self._home_of(found.user_id), placement, hops):
                continue
            key = found.user_id.encode()
            held = newest[key][0] if key in newest else self._held(batch.partition, key)
            if held is None or held.updated_at <= found.updated_at:
                newest[key] = found, record.value or b""
        return {key: value for key, (_, value) in newest.items()}, rejected

    def _held(self, partition: int, key: bytes) -> Contacts | None:
        row = self._table.get(partition, key)
        found = None if row is None else read_contacts(row)
        return None if isinstance(found, Rejection) else found
