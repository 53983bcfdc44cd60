"""How a choice gets in: by hand (HTTP, CLI), from the topic, or in bulk. Durable record first, then the delta, then the tables follow.

In: updates. Out: what holds afterwards. It refuses to know Kafka: publishing is given to it.
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
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.repository import BucketedChange, PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound
    from notify_streams.roles import Channel

    #: Hands updates, each with its bucket, to `preference_updates`; returns when Kafka has them all, raises otherwise.
    Publish = Callable[[Sequence[tuple[int, PreferenceUpdate]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StoredChoice:
    """A choice that holds: every check from now on sees it."""

    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AppliedUpdates:
    """What a batch of updates led to."""

    #: The durable row of everybody in the batch, changed or not. A table takes a row that is newer than its own.
    rows: dict[str, bytes]
    #: Updates that were refused: their place in the batch, and why.
    rejected: list[tuple[int, Rejection]]
    #: False if Redis did not take the deltas; the lease brings them, or ends, within `StalenessBound.lease_s`.
    deltas_written: bool


class PreferenceWriter:
    """Writes choices."""

    def __init__(
        self,
        durable: PreferenceRepository,
        deltas: Deltas,
        bound: StalenessBound,
        categories: Categories,
        publish: Publish,
    ) -> None:
        self._durable = durable
        self._deltas = deltas
        self._bound = bound
        self._categories = categories
        self._publish = publish

    async def put(
        self, user_id: str, bucket: int, category: str, channel: Channel, opted_in: bool, now: datetime
    ) -> StoredChoice:
        """Store what a person chooses now. When this returns, every check that begins sees it.

        Why that may be said: the record is durable (majority, journalled), so whoever reads it sees the choice. Whoever trusts Redis
        instead sees the delta if Redis took it. If Redis did not take it (gone, full, cut off from here, though perhaps not from
        others), a reader may go on trusting it for as long as a lease lasts that was begun before the record was durable, and no longer:
        the next lease is only given after this choice was copied (`preferences.bound`). So this waits for `lease_s` and may then
        promise the same without Redis. The tables follow the topic; a delta outlives the delay that they are allowed
        (`StalenessBound.table_lag_s`), so they must be on their way, too: without Kafka nothing is promised.

        Raises:
            RetryLater: the record or the topic could not be written; nothing is promised, and to ask again is safe.
            KeyError: no such category; the caller has checked.
        """
        change = ChoiceChange(self._categories[category].number, channel, opted_in, now, by_hand=True)
        record = (await self._durable.apply([(bucket, user_id, change)]))[user_id]
        choice = record.choices[change.number][channel]
        update = PreferenceUpdate(user_id, category, channel, choice.opted_in, choice.at)
        await asyncio.gather(self._make_visible({user_id: record.row()}), self._hand_on([(bucket, update)]))
        return StoredChoice(record.version, choice.at)

    async def apply_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]], now: datetime) -> AppliedUpdates:
        """Apply a batch of `preference_updates`, each with its bucket. The same batch again changes nothing.

        Raises:
            RetryLater: the durable record could not be written; apply the same batch again.
        """
        wishes, rejected = self._sort(updates, now)
        rows = {user_id: record.row() for user_id, record in (await self._durable.apply(wishes)).items()}
        try:
            await self._deltas.write(rows)
        except StoreUnavailable:
            return AppliedUpdates(rows, rejected, deltas_written=False)
        return AppliedUpdates(rows, rejected, deltas_written=True)

    async def import_updates(
        self, updates: Sequence[tuple[int, PreferenceUpdate]], now: datetime
    ) -> list[tuple[int, Rejection]]:
        """Apply and publish a batch that does not come from the topic; returns the refused ones with their places.

        The deltas are left to the lease's keeper, which copies them in any case.

        Raises:
            RetryLater: it was not stored or not published; do the same again.
        """
        wishes, rejected = self._sort(updates, now)
        await self._durable.apply(wishes)
        refused = {place for place, _ in rejected}
        taken = [update for place, update in enumerate(updates) if place not in refused] if refused else updates
        await self._hand_on(taken)
        return rejected

    def _sort(
        self, updates: Sequence[tuple[int, PreferenceUpdate]], now: datetime
    ) -> tuple[list[BucketedChange], list[tuple[int, Rejection]]]:
        wishes: list[BucketedChange] = []
        rejected: list[tuple[int, Rejection]] = []
        for place, (bucket, update) in enumerate(updates):
            checked = self._change_of(update, now)
            if isinstance(checked, Rejection):
                rejected.append((place, checked))
            else:
                wishes.append((bucket, update.user_id, checked))
        return wishes, rejected

    async def _make_visible(self, rows: dict[str, bytes]) -> None:
        try:
            await self._deltas.write(rows)
        except StoreUnavailable:
            await asyncio.sleep(self._bound.lease_s)

    async def _hand_on(self, updates: Sequence[tuple[int, PreferenceUpdate]]) -> None:
        try:
            await self._publish(updates)
        except Exception as error:
            raise RetryLater("stored, but not published") from error

    def _change_of(self, update: PreferenceUpdate, now: datetime) -> ChoiceChange | Rejection:
        category = self._categories.get(update.category)
        if category is None:
            return Rejection(DeadReason.UNKNOWN_CATEGORY, f"there is no category {update.category!r}")
        if update.updated_at > now + FUTURE_LIMIT:
            return Rejection(
                DeadReason.INVALID, f"`updated_at` is more than {FUTURE_LIMIT.seconds // 60} minutes ahead"
            )
        return ChoiceChange(category.number, update.channel, update.opted_in, update.updated_at)
