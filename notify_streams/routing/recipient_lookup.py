"""What a router knows of people, from the tables of its worker and the preference check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import read_contacts, read_ways

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.records.user_records import ContactAddresses, Contacts
    from notify_streams.regions.locations import Location


class PartitionedTable(Protocol):
    """A table of which this worker holds the rows of its buckets."""

    def get(self, partition: int, key: Any) -> Any: ...
    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]: ...


class PreferenceCheck(Protocol):
    """The check when a trigger is decided."""

    async def rows_for(self, bucket: int, user_ids: Sequence[str]) -> Sequence[bytes]: ...


class RecipientLookup:
    """`routing.router.People` over tables."""

    def __init__(
        self,
        homes: Callable[[Sequence[str]], list[Location | None]],
        contacts: PartitionedTable,
        check: PreferenceCheck,
    ) -> None:
        self._contacts = contacts
        self.homes = homes
        self.preferences = check.rows_for

    def ways(self, bucket: int, user_ids: Sequence[bytes]) -> list[ContactAddresses | None]:
        """How each is reached, in order; None for whom no contact is known."""
        rows = self._contacts.get_many(bucket, user_ids)
        return [None if row is None else read_ways(row) for row in rows]

    def contacts(self, bucket: int, user_id: str) -> Contacts | None:
        """One person's contacts, whole."""
        row = self._contacts.get(bucket, user_id.encode())
        if row is None:
            return None
        found = read_contacts(row)
        return None if isinstance(found, Rejection) else found
