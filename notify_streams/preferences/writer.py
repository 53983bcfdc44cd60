"""Writes choices: single ones, batches from the topic, bulk imports.

The order: first the preference record in MongoDB, then the delta in Redis and the row for the tables. A single choice is published as an
update before: after a crash in between, the registry role, which reads the topic, stores it and publishes the row.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.preferences.categories import choices_named
from notify_streams.preferences.choices import ChoiceChange, to_publish
from notify_streams.preferences.deltas import make_visible
from notify_streams.preferences.suppressed_addresses import number_of
from notify_streams.records.address_ids import is_address_id
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import ALL, PreferenceUpdate
from notify_streams.roles import channel_named
from notify_streams.stores.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Literal

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.choices import Choice, PreferenceRecord
    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.erased_users import ErasedUsers
    from notify_streams.preferences.repository import BucketedChange, PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound
    from notify_streams.records.choice_sources import ChoiceSource
    from notify_streams.roles import Channel

    #: Publishes updates, each with its bucket, on `preference_updates`, and the rows of users, by user id, on `preference_rows`.
    #: Returns when Kafka has all of them, raises otherwise.
    Publish = Callable[[Sequence[tuple[int, PreferenceUpdate]], Mapping[str, bytes]], Awaitable[None]]
    #: Rejected updates: index in the batch, and why.
    Rejected = list[tuple[int, Rejection]]
    #: Category, and a change for it.
    _NamedChanges = list[tuple[str, ChoiceChange]]


_ERASED: Final = Rejection(DeadReason.INVALID, "the person was erased")


@dataclass(frozen=True, slots=True)
class StoredChoice:
    """A stored choice, or a later one of the same user: every later check sees it."""

    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AppliedUpdates:
    """The result of a batch of updates."""

    #: The row of every user in the batch, changed or not.
    rows: dict[str, bytes]
    rejected: Rejected
    #: False if Redis did not take the deltas. Within `StalenessBound.lease_s` the lease renewal writes them, or the lease ends.
    deltas_written: bool


class PreferenceWriter:
    """Writes choices to the preference record, the deltas and the topic."""

    def __init__(
        self,
        repository: PreferenceRepository,
        deltas: Deltas,
        bound: StalenessBound,
        categories: Categories,
        publish: Publish,
        erased: ErasedUsers,
    ) -> None:
        self._repository = repository
        self._deltas = deltas
        self._bound = bound
        self._categories = categories
        self._publish = publish
        self._erased = erased
        #: What one user chooses while a write is in progress is written together: concurrent swaps of one record would fail.
        self._users: WeakValueDictionary[str, RequestBatcher[_NamedChanges, PreferenceRecord]] = WeakValueDictionary()

    async def put(
        self,
        user_id: str,
        bucket: int,
        category: str,
        channel: Channel | Literal["*"],
        opted_in: bool,
        now: datetime,
        source: ChoiceSource,
        detail: str = "",
        *,
        immediate: bool = True,
    ) -> StoredChoice:
        """Store what a user chooses now. Every check that begins after the return sees it. `ALL` opts out of all that can be turned off.

        The reason: the record is durable (majority, journalled), so a check that reads it sees the choice. A check that trusts Redis sees
        the delta. If Redis did not take the delta, a check may trust a lease from before the record was durable, but no later one: the
        next lease is given only after this choice was copied (`staleness_bound`). So this method then waits for `lease_s`. The tables
        must get the row before the delta expires (`StalenessBound.table_lag_s`), so the row must be published. The update is published
        before the record is written: if this process ends before it has published the row, the registry role does, which publishes the
        row of every user of whom it reads an update. From there the other regions get the update, too.

        Args:
            user_id: a user's, or an address's; then `category` is the reason of its suppression (`suppressed_addresses`).
            source, detail: for the history, see `PreferenceUpdate`.
            immediate: False: `now` is the time of an earlier message, and a stored choice with a later one stays.

        Raises:
            RetryLater: the topic or the record could not be written; the choice may be applied all the same. Repeating the call is safe.
            KeyError: no such category; the caller has checked it.
        """
        changes = [
            (name, ChoiceChange(number, one, opted_in, now, immediate, source, detail))
            for name, number, one in self._numbered(user_id, category, channel)
        ]
        batcher = self._users.get(user_id)
        if batcher is None:
            batcher = self._users[user_id] = RequestBatcher(partial(self._put_together, user_id, bucket))
        record = await batcher.call(changes, len(changes))
        stored = [record.choices[change.number][change.channel] for _, change in changes]
        return StoredChoice(record.version, max(choice.at for choice in stored))

    async def apply_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]]) -> AppliedUpdates:
        """Apply a batch from `preference_updates`, each update with its bucket. Applying it again changes nothing.

        The caller publishes the rows.

        Raises:
            RetryLater: the records could not be written; apply the same batch again.
        """
        changes, rejected = self._validate(updates)
        rows: dict[str, bytes] = {}
        written = True

        async def write_deltas(records: Mapping[str, PreferenceRecord]) -> None:
            nonlocal written
            rows.update(_rows_of(records))
            try:
                await self._deltas.write(rows)
            except StoreUnavailable:
                written = False

        await self._repository.apply(changes, write_deltas)
        return AppliedUpdates(rows, rejected, written)

    async def import_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]]) -> Rejected:
        """Apply and publish a batch that does not come from the topic; returns the rejected updates, among them those of erased persons.

        The lease renewal writes the deltas.

        Raises:
            RetryLater: the batch was not stored or not published; import it again.
        """
        changes, rejected = self._validate(updates)
        if erased := await self._erased.among({update.user_id: bucket for bucket, update in updates}):
            rejected = [one for one in rejected if updates[one[0]][1].user_id not in erased]
            rejected += [(at, _ERASED) for at, (_, update) in enumerate(updates) if update.user_id in erased]
            changes = [change for change in changes if change[1] not in erased]
        skipped = {index for index, _ in rejected}
        accepted = [update for index, update in enumerate(updates) if index not in skipped]
        await self._repository.apply(changes, lambda records: self._publish_all(accepted, _rows_of(records)))
        return rejected

    def _validate(self, updates: Sequence[tuple[int, PreferenceUpdate]]) -> tuple[list[BucketedChange], Rejected]:
        changes: list[BucketedChange] = []
        rejected: Rejected = []
        for index, (bucket, update) in enumerate(updates):
            found = self._changes_of(update)
            if isinstance(found, Rejection):
                rejected.append((index, found))
            else:
                changes += [(bucket, update.user_id, change) for change in found]
        return changes, rejected

    def _changes_of(self, update: PreferenceUpdate) -> list[ChoiceChange] | Rejection:
        try:
            found = self._numbered(update.user_id, update.category, update.channel)
        except KeyError:
            return Rejection(DeadReason.UNKNOWN_CATEGORY, "there is no such category; names are case-sensitive")
        if not found:
            return Rejection(DeadReason.INVALID, "there is nothing of it that a user may turn off")
        return [
            ChoiceChange(
                number, channel, update.opted_in, update.updated_at, source=update.source, detail=update.detail
            )
            for _, number, channel in found
        ]

    def _numbered(self, user_id: str, category: str, channel: str) -> list[tuple[str, int, Channel]]:
        """The names, numbers and channels that a choice is about.

        Raises:
            KeyError: there is no such category.
        """
        if is_address_id(user_id):
            number = number_of(category)
            return [] if (known := channel_named(channel)) is None else [(category, number, known)]
        if category != ALL and category not in self._categories:
            raise KeyError(category)
        named = choices_named(self._categories, category, channel)
        return [(name, self._categories[name].number, one) for name, one in named]

    async def _put_together(
        self, user_id: str, bucket: int, requests: Sequence[_NamedChanges]
    ) -> list[PreferenceRecord]:
        names = {change.number: name for request in requests for name, change in request}
        before = await self._repository.read_earlier(bucket, user_id)
        changes = to_publish(before, [change for request in requests for _, change in request], datetime.now(UTC))

        def update_of(number: int, channel: Channel, choice: Choice | ChoiceChange) -> tuple[int, PreferenceUpdate]:
            return bucket, PreferenceUpdate(
                user_id, names[number], channel, choice.opted_in, choice.at, choice.source, choice.detail
            )

        published = [update_of(change.number, change.channel, change) for change in changes]
        known = frozenset(published)

        async def make_known(records: Mapping[str, PreferenceRecord]) -> None:
            chosen = dict.fromkeys((change.number, change.channel) for change in changes)
            stored = [update_of(*key, records[user_id].choices[key[0]][key[1]]) for key in chosen]
            rows = _rows_of(records)
            others = [update for update in stored if update not in known]
            await asyncio.gather(make_visible(self._deltas, self._bound, rows), self._publish_all(others, rows))

        await self._publish_all(published, {}, "Kafka has not confirmed the choices, so they were not stored")
        records = await self._repository.apply(((bucket, user_id, change) for change in changes), make_known)
        return [records[user_id]] * len(requests)

    async def _publish_all(
        self,
        updates: Sequence[tuple[int, PreferenceUpdate]],
        rows: Mapping[str, bytes],
        otherwise: str = "the choices are stored but not published",
    ) -> None:
        """Raises `RetryLater` with the text `otherwise`."""
        try:
            await self._publish(updates, rows)
        except Exception as error:
            raise RetryLater(otherwise) from error


def _rows_of(records: Mapping[str, PreferenceRecord]) -> dict[str, bytes]:
    return {user_id: record.row() for user_id, record in records.items()}
