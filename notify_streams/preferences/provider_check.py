"""The check before the provider call: may this message still be sent? One MGET a batch; old messages are looked up in the durable record.

In: a bucket and its channel messages. Out: for each None or the reason to suppress it, and until when that may be relied on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.metrics import DURABLE_CHECKS
from notify_streams.preferences.categories import Default
from notify_streams.preferences.row_codec import NOTHING, bits_of, version_of
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
    """What a check found. A call that would start at `good_until` (`time.monotonic`) or later needs another check."""

    #: In the order of the messages: None if it may be sent, or why not.
    reasons: list[Reason | None]
    checked_at: float
    good_until: float

    def holds(self) -> bool:
        """Whether a call that starts now may still rely on this."""
        return time.monotonic() < self.good_until


class ProviderCheck:
    """Asks, for messages about to be sent, whether their people still allow it."""

    def __init__(
        self, deltas: Deltas, durable: PreferenceRepository, bound: StalenessBound, categories: Categories
    ) -> None:
        self._deltas = deltas
        self._durable = durable
        self._bound = bound
        self._young = timedelta(seconds=bound.young_s)
        self._categories = categories
        #: Messages that were looked up in the durable record.
        self.durable_lookups = 0

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
        """Check messages of one bucket. It takes account of every choice that was acknowledged before this was called.

        A message younger than `StalenessBound.young_s` whose person has no delta stands as decided: nothing changed since. An older one, and
        every one while Redis cannot be trusted, is looked up in the durable record.

        Raises:
            RetryLater: neither Redis nor the durable record answered; nothing may be sent.
        """
        checked_at = time.monotonic()
        reasons = [policy_reason(message, self._categories, now) for message in messages]
        asking = [place for place, reason in enumerate(reasons) if reason is None and self._may_refuse(messages[place])]
        if asking:
            rows = await self._rows(bucket, [messages[place] for place in asking], now)
            for place in asking:
                message = messages[place]
                row = rows.get(message.user_id)
                # A delta that is older than what the decision knew was not yet replaced: the decision stands.
                if row is not None and version_of(row) >= message.preference_version:
                    category = self._categories[message.category]
                    reasons[place] = category.refusal(message.channel, bits_of(row, category.number))
        return SendPermission(reasons, checked_at, checked_at + self._bound.good_s)

    async def _rows(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> dict[str, bytes]:
        """Rows by user id: for the old everybody's, for the young those that changed."""
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
            self.durable_lookups += len(old)
            DURABLE_CHECKS.inc(len(old))
            try:
                found = await self._durable.rows(bucket, list(old))
            except StoreUnavailable as error:
                raise RetryLater(f"preferences cannot be checked, nothing is sent: {error}") from error
            rows |= {user_id: found.get(user_id, NOTHING) for user_id in old}
        return rows

    def _may_refuse(self, message: ChannelMessage) -> bool:
        return self._categories[message.category].channels[message.channel] is not Default.ALWAYS


def policy_reason(message: ChannelMessage, categories: Categories, now: datetime) -> Reason | None:
    """Why a message may not be sent whatever its person chose, or None."""
    category = categories.get(message.category)
    if category is None or message.channel not in category.channels:
        return Reason.CHANNEL_NOT_ALLOWED
    if message.expires_at is not None and message.expires_at <= now:
        return Reason.EXPIRED
    return Reason.TEST if message.test else None
