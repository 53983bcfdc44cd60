"""The preference check before a provider call: may this message still be sent?

One MGET a batch. The preference records of old messages' users are read from MongoDB.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.metrics import DURABLE_CHECKS
from notify_streams.preferences.categories import Default
from notify_streams.preferences.row_codec import EMPTY_ROW, choice_in, version_of
from notify_streams.records.outcomes import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.repository import PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound
    from notify_streams.records.channel_message import ChannelMessage


@dataclass(frozen=True, slots=True)
class SendPermission:
    """The result of a check. A call that starts at `good_until` (`time.monotonic`) or later needs another check."""

    #: In the order of the messages: why a message must be suppressed, None if it may be sent.
    reasons: list[Reason | None]
    checked_at: float
    good_until: float

    def holds(self) -> bool:
        """Whether a call may start now."""
        return time.monotonic() < self.good_until


class ProviderCheck:
    """Checks messages that are about to be sent."""

    def __init__(
        self, deltas: Deltas, repository: PreferenceRepository, bound: StalenessBound, categories: Categories
    ) -> None:
        self._deltas = deltas
        self._repository = repository
        self._bound = bound
        self._young = timedelta(seconds=bound.young_s)
        self._categories = categories

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
        """Check messages of one bucket, with every choice that was acknowledged before this call.

        A message younger than `StalenessBound.young_s` whose user has no delta stands as decided: nothing has changed since. For older
        messages, and for all while Redis cannot be trusted, the preference record is read.

        Raises:
            RetryLater: neither Redis nor MongoDB answered; nothing may be sent.
        """
        checked_at = time.monotonic()
        reasons = [policy_reason(message, self._categories, now) for message in messages]
        to_check = [
            index for index, reason in enumerate(reasons) if reason is None and self._can_refuse(messages[index])
        ]
        if to_check:
            rows = await self._rows(bucket, [messages[index] for index in to_check], now)
            for index in to_check:
                message = messages[index]
                row = rows.get(message.user_id)
                # A delta older than the row of the decision was not replaced yet: the decision stands.
                if row is not None and version_of(row) >= message.preference_version:
                    category = self._categories[message.category]
                    choice = choice_in(row, category.number, message.channel)
                    reasons[index] = category.refusal(message.channel, choice)
        return SendPermission(reasons, checked_at, checked_at + self._bound.good_s)

    async def _rows(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> dict[str, bytes]:
        """Rows by user id: of every user with an old message, and of the others those with a delta."""
        oldest = now - self._young
        old = dict.fromkeys(message.user_id for message in messages if message.decided_at < oldest)
        young = [user_id for user_id in dict.fromkeys(message.user_id for message in messages) if user_id not in old]
        rows: dict[str, bytes] = {}
        if young:
            deltas = await self._deltas.read(young)
            if deltas is None:
                old |= dict.fromkeys(young)
            else:
                rows = {user_id: delta for user_id, delta in zip(young, deltas, strict=True) if delta is not None}
        if old:
            DURABLE_CHECKS.inc(len(old))
            try:
                stored = await self._repository.rows(bucket, list(old))
            except StoreUnavailable as error:
                raise RetryLater(f"preferences cannot be checked, nothing is sent: {error}") from error
            rows |= {user_id: stored.get(user_id, EMPTY_ROW) for user_id in old}
        return rows

    def _can_refuse(self, message: ChannelMessage) -> bool:
        return self._categories[message.category].channels[message.channel] is not Default.ALWAYS


def policy_reason(message: ChannelMessage, categories: Categories, now: datetime) -> Reason | None:
    """Why a message may not be sent, whatever its user chose; None if it may."""
    category = categories.get(message.category)
    if category is None or message.channel not in category.channels:
        return Reason.CHANNEL_NOT_ALLOWED
    if message.expires_at is not None and message.expires_at <= now:
        return Reason.EXPIRED
    return Reason.TEST if message.test else None
