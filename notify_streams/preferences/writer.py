"""Writes choices: single ones, batches from the topic, bulk imports.

The order: first the preference record in MongoDB, then the delta in Redis and the row for the tables.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.preferences.choices import FUTURE_LIMIT, ChoiceChange
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import PreferenceUpdate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.repository import BucketedChange, PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound
    from notify_streams.roles import Channel

    #: Publishes updates, each with its bucket, on `preference_updates`, and the rows of their users, by user id, on `preference_rows`.
    #: Returns when Kafka has all of them, raises otherwise.
    Publish = Callable[[Sequence[tuple[int, PreferenceUpdate]], Mapping[str, bytes]], Awaitable[None]]
    #: Rejected updates: index in the batch, and why.
    Rejected = list[tuple[int, Rejection]]


@dataclass(frozen=True, slots=True)
class StoredChoice:
    """A stored choice: every later check sees it."""

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
    ) -> None:
        self._repository = repository
        self._deltas = deltas
        self._bound = bound
        self._categories = categories
        self._publish = publish

    async def put(
        self, user_id: str, bucket: int, category: str, channel: Channel, opted_in: bool, now: datetime
    ) -> StoredChoice:
        """Store what a user chooses now. Every check that begins after the return sees it.

        The reason: the record is durable (majority, journalled), so a check that reads it sees the choice. A check that trusts Redis sees
        the delta. If Redis did not take the delta, a check may trust a lease from before the record was durable, but no later one: the
        next lease is given only after this choice was copied (`staleness_bound`). So this method then waits for `lease_s`. The tables
        must get the row before the delta expires (`StalenessBound.table_lag_s`), so the row must be published. The update is published
        for the other regions.

        Raises:
            RetryLater: the record or the topic could not be written. Repeating the call is safe.
            KeyError: no such category; the caller has checked it.
        """
        change = ChoiceChange(self._categories[category].number, channel, opted_in, now, immediate=True)
        record = (await self._repository.apply([(bucket, user_id, change)]))[user_id]
        choice = record.choices[change.number][channel]
        update = PreferenceUpdate(user_id, category, channel, choice.opted_in, choice.at)
        rows = {user_id: record.row()}
        await asyncio.gather(self._make_visible(rows), self._publish_all([(bucket, update)], rows))
        return StoredChoice(record.version, choice.at)

    async def apply_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]], now: datetime) -> AppliedUpdates:
        """Apply a batch from `preference_updates`, each update with its bucket. Applying it again changes nothing.

        The caller publishes the rows.

        Raises:
            RetryLater: the records could not be written; apply the same batch again.
        """
        changes, rejected = self._validate(updates, now)
        rows = {user_id: record.row() for user_id, record in (await self._repository.apply(changes)).items()}
        try:
            await self._deltas.write(rows)
        except StoreUnavailable:
            return AppliedUpdates(rows, rejected, deltas_written=False)
        return AppliedUpdates(rows, rejected, deltas_written=True)

    async def import_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]], now: datetime) -> Rejected:
        """Apply and publish a batch that does not come from the topic; returns the rejected updates.

        The lease renewal writes the deltas.

        Raises:
            RetryLater: the batch was not stored or not published; import it again.
        """
        changes, rejected = self._validate(updates, now)
        records = await self._repository.apply(changes)
        rows = {user_id: record.row() for user_id, record in records.items()}
        skipped = {index for index, _ in rejected}
        await self._publish_all([update for index, update in enumerate(updates) if index not in skipped], rows)
        return rejected

    def _validate(
        self, updates: Sequence[tuple[int, PreferenceUpdate]], now: datetime
    ) -> tuple[list[BucketedChange], Rejected]:
        changes: list[BucketedChange] = []
        rejected: Rejected = []
        for index, (bucket, update) in enumerate(updates):
            change = self._change_of(update, now)
            if isinstance(change, Rejection):
                rejected.append((index, change))
            else:
                changes.append((bucket, update.user_id, change))
        return changes, rejected

    def _change_of(self, update: PreferenceUpdate, now: datetime) -> ChoiceChange | Rejection:
        category = self._categories.get(update.category)
        if category is None:
            return Rejection(DeadReason.UNKNOWN_CATEGORY, f"there is no category {update.category!r}")
        if update.updated_at > now + FUTURE_LIMIT:
            minutes = FUTURE_LIMIT.seconds // 60
            return Rejection(DeadReason.INVALID, f"`updated_at` is more than {minutes} minutes in the future")
        return ChoiceChange(category.number, update.channel, update.opted_in, update.updated_at)

    async def _make_visible(self, rows: dict[str, bytes]) -> None:
        try:
            await self._deltas.write(rows)
        except StoreUnavailable:
            await asyncio.sleep(self._bound.lease_s)

    async def _publish_all(self, updates: Sequence[tuple[int, PreferenceUpdate]], rows: Mapping[str, bytes]) -> None:
        try:
            await self._publish(updates, rows)
        except Exception as error:
            raise RetryLater("the choices are stored but not published") from error
