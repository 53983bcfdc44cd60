"""What a router knows of people, from the tables of its worker and the preference check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from notify_streams.records.trigger import Rejection
from notify_streams.records.users import read_contacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.users import Contacts
    from notify_streams.routing.router import Home


class Replicated(Protocol):
    """A table of which this worker holds all rows."""

    def get(self, key: Any) -> Any: ...


class Partitioned(Protocol):
    """A table of which this worker holds the rows of its buckets."""

    def get(self, partition: int, key: Any) -> Any: ...


class PreferenceCheck(Protocol):
    """The check when a trigger is decided."""

    async def rows_for(self, bucket: int, user_ids: Sequence[str]) -> Sequence[bytes]: ...


class KnownPeople:
    """`routing.router.People` over tables."""

    def __init__(self, locations: Replicated, contacts: Partitioned, check: PreferenceCheck) -> None:
        self._locations = locations
        self._contacts = contacts
        self.preferences = check.rows_for

    def home(self, user_id: str) -> Home | None:
        found: Home | None = self._locations.get(user_id)
        return found

    def contacts(self, bucket: int, user_id: str) -> Contacts | None:
        row = self._contacts.get(bucket, user_id.encode())
        if row is None:
            return None
        found = read_contacts(row)
        return None if isinstance(found, Rejection) else found
