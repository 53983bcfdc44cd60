"""Reads recipients' locations, contacts and preference rows from the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from notify_streams.records.user_records import decode_contact_row

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from notify_streams.records.user_records import ContactRow
    from notify_streams.regions.locations import Location


class PartitionedTable(Protocol):
    """A table of which this worker holds the rows of its buckets."""

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]: ...


class PreferenceCheck(Protocol):
    """`preferences.decision_check.DecisionCheck`."""

    async def rows_for(self, bucket: int, user_ids: Sequence[str]) -> Sequence[bytes]: ...


class RecipientLookup:
    """Lookups for a batch of recipients. Results are in the order of `user_ids`.

    Args:
        locate: the locations of users in a bucket; None for an unknown user, and for one of another bucket.
        recent_users: those who became known a short time ago.
    """

    def __init__(
        self,
        locate: Callable[[int, Sequence[bytes]], list[Location | None]],
        contacts: PartitionedTable,
        check: PreferenceCheck,
        recent_users: Container[str] = (),
    ) -> None:
        self._contacts = contacts
        self._recent_users = recent_users
        self.locations = locate
        self.preference_rows = check.rows_for

    def addresses(self, bucket: int, user_ids: Sequence[bytes]) -> list[ContactRow | None]:
        """Contact addresses; None for a user without contacts."""
        rows = self._contacts.get_many(bucket, user_ids)
        return [None if row is None else decode_contact_row(row) for row in rows]

    def may_get_contacts(self, user_id: str) -> bool:
        """Whether a user without contacts signed up so recently that they may be on their way."""
        return user_id in self._recent_users
