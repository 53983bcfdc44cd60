"""What a router knows of people, from the tables of its worker and the preference check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from notify_streams.records.trigger import Rejection
from notify_streams.records.users import read_contacts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.records.users import Contacts
    from notify_streams.regions.locations import Located


class Partitioned(Protocol):
    """A table of which this worker holds the rows of its buckets."""

    def get(self, partition: int, key: Any) -> Any: ...


class PreferenceCheck(Protocol):
    """The check when a trigger is decided."""

    async def rows_for(self, bucket: int, user_ids: Sequence[str]) -> Sequence[bytes]: ...


class KnownPeople:
    """`routing.router.People` over tables."""

    def __init__(self, locate: Callable[[str], Located | None], contacts: Partitioned, check: PreferenceCheck) -> None:
        self._contacts = contacts
        self.home = locate
        self.preferences = check.rows_for

    def contacts(self, bucket: int, user_id: str) -> Contacts | None:
        row = self._contacts.get(bucket, user_id.encode())
        if row is None:
            return None
        found = read_contacts(row)
        return None if isinstance(found, Rejection) else found
