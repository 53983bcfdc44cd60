"""The preference check before a provider call: may this message still be sent?

One MGET a batch. The preference records of old messages' users, and those of addresses once a minute, are read from MongoDB.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.metrics import DURABLE_CHECKS
from notify_streams.preferences.categories import Default
from notify_streams.preferences.erased_users import ERASED_ROW, is_erased
from notify_streams.preferences.row_cache import RowCache
from notify_streams.preferences.row_codec import EMPTY_ROW, choice_in, newer_row, version_of
from notify_streams.preferences.suppressed_addresses import suppression_in
from notify_streams.records.outcomes import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.erased_users import ErasedUsers
    from notify_streams.preferences.repository import PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound
    from notify_streams.preferences.suppressed_addresses import AddressIds
    from notify_streams.records.channel_message import ChannelMessage


_CACHED_ADDRESSES: Final = 200_000


@dataclass(frozen=True, slots=True)
class SendPermission:
    """The result of a check. A call that starts at `good_until` (`time.monotonic`) or later needs another check."""

    #: In the order of the messages: why a message must be suppressed, None if it may be sent.
    reasons: list[Reason | None]
    checked_at: float
    good_until: float
    #: Places of messages that could not be checked: the shard with what is known of their address has not answered for seconds.
    unchecked: frozenset[int] = frozenset()

    def holds(self) -> bool:
        """Whether a call may start now."""
        return time.monotonic() < self.good_until


class ProviderCheck:
    """Checks messages that are about to be sent, and their addresses."""

    def __init__(
        self,
        deltas: Deltas,
        repository: PreferenceRepository,
        bound: StalenessBound,
        categories: Categories,
        addresses: AddressIds | None = None,
        erased: ErasedUsers | None = None,
    ) -> None:
        """Without `addresses` no address is suppressed, without `erased` no person is erased."""
        self._deltas = deltas
        self._repository = repository
        self._bound = bound
        self._young = timedelta(seconds=bound.young_s)
        #: As far as two clocks may differ.
        self._ahead = timedelta(seconds=bound.delta_ttl_s - bound.young_s - bound.table_only_lag_s)
        self._categories = categories
        self._addresses = addresses
        self._erased = erased
        self._address_rows = RowCache(bound.cache_ttl_s, _CACHED_ADDRESSES)

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
        """Check messages of one bucket, with every choice and every suppression of an address that was acknowledged before this call.

        A message younger than `StalenessBound.young_s` whose user has no delta stands as decided: nothing has changed since. For older
        messages, and for all while Redis cannot be trusted, the preference record is read. The record of an address is read at its first
        message and again after `cache_ttl_s`, because no decision has looked at it; in between the deltas have what changes.

        An address whose record is on a silent shard cannot be checked; its messages are named, and hold up no others.

        Raises:
            RetryLater: neither Redis nor MongoDB answered; nothing may be sent.
        """
        unchecked: frozenset[int] = frozenset()
        checked_at = time.monotonic()
        reasons = [policy_reason(message, self._categories, now) for message in messages]
        to_check = [message for message, reason in zip(messages, reasons, strict=True) if reason is None]
        addresses = self._addresses_of(to_check)
        refusable = [message for message in to_check if self._erased is not None or self._can_refuse(message)]
        if refusable or addresses:
            rows, unread = await self._rows(bucket, refusable, set(addresses.values()), now)
            for index, message in enumerate(messages):
                if reasons[index] is None:
                    reasons[index] = self._choice_reason(message, rows) or self._address_reason(
                        message, rows, addresses
                    )
            unchecked = frozenset(
                index
                for index, message in enumerate(messages)
                if reasons[index] is None and addresses.get(message.to) in unread
            )
        return SendPermission(reasons, checked_at, checked_at + self._bound.good_s, unchecked)

    def _choice_reason(self, message: ChannelMessage, rows: Mapping[str, bytes]) -> Reason | None:
        row = rows.get(message.user_id)
        if row is not None and is_erased(row):
            return Reason.ERASED
        # A delta older than the row of the decision was not replaced yet: the decision stands.
        if row is None or version_of(row) < message.preference_version or not self._can_refuse(message):
            return None
        category = self._categories[message.category]
        return category.refusal(message.channel, choice_in(row, category.number, message.channel))

    def _address_reason(
        self, message: ChannelMessage, rows: Mapping[str, bytes], addresses: Mapping[str, str]
    ) -> Reason | None:
        address = addresses.get(message.to)
        return None if address is None else suppression_in(rows.get(address, EMPTY_ROW), message.channel)

    def _addresses_of(self, messages: Sequence[ChannelMessage]) -> dict[str, str]:
        """The ids of phone numbers and mail addresses, by the address. All messages of a call have the same channel."""
        ids = self._addresses
        if ids is None:
            return {}
        return {message.to: ids.of(message.channel, message.to) for message in messages if message.channel != "push"}

    async def _rows(
        self, bucket: int, messages: Sequence[ChannelMessage], addresses: set[str], now: datetime
    ) -> tuple[dict[str, bytes], set[str]]:
        """Rows by user id: of every user with an old message, of the others those with a delta, and of addresses; and the addresses that
        cannot be read."""
        oldest, newest = now - self._young, now + self._ahead
        # With a clock that is wrong it is not known how old a message is.
        old = dict.fromkeys(one.user_id for one in messages if not oldest <= one.decided_at <= newest)
        young = [user_id for user_id in dict.fromkeys(message.user_id for message in messages) if user_id not in old]
        rows: dict[str, bytes] = {}
        unread: set[str] = set()
        recent = [*young, *addresses]
        trusted = True
        if recent:
            deltas = await self._deltas.read(recent)
            if deltas is None:
                trusted = False
                old |= dict.fromkeys(young)
            else:
                rows = {user_id: delta for user_id, delta in zip(recent, deltas, strict=True) if delta is not None}
        try:
            if old:
                DURABLE_CHECKS.inc(len(old))
                stored = await self._repository.rows(bucket, list(old))
                rows |= {user_id: stored.get(user_id, EMPTY_ROW) for user_id in old}
                if self._erased is not None:
                    unknown = {user_id: bucket for user_id in old if user_id not in stored}
                    rows |= dict.fromkeys(await self._erased.among(unknown), ERASED_ROW)
            if addresses:
                stored, unread = await self._stored_address_rows(addresses, trusted)
                for address, row in stored.items():
                    rows[address] = newer_row(row, rows.get(address, EMPTY_ROW))
        except StoreUnavailable as error:
            raise RetryLater(f"preferences cannot be checked, nothing is sent: {error}") from error
        return rows, unread

    async def _stored_address_rows(self, addresses: set[str], trusted: bool) -> tuple[dict[str, bytes], set[str]]:
        """Rows of addresses, with every change that the deltas do not have any more; with every change if Redis is not `trusted`.

        And the addresses whose shard is silent.
        """
        assert self._addresses is not None
        bucket_of, cache = self._addresses.bucket_of, self._address_rows
        cache.expire(time.monotonic())
        found = {one: row for one in addresses if (row := cache.get(one)) is not None} if trusted else {}
        missing = {one: bucket_of(one) for one in addresses if one not in found}
        unread = {one for one, bucket in missing.items() if self._repository.is_silent(bucket)}
        for one in unread:
            del missing[one]
        if not trusted:
            DURABLE_CHECKS.inc(len(missing))
            return await self._repository.rows_of(missing), unread
        if missing:
            stored = await self._repository.earlier_rows_of(missing)
            for one in missing:
                found[one] = row = stored.get(one, EMPTY_ROW)
                cache.put(one, row)
        return found, unread

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
