"""What stops messages: choices by link or page, and suppressed addresses.

Each method returns when every check that begins from then on sees the change, as `PreferenceWriter.put` does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal

from notify_streams.errors import Refused
from notify_streams.preferences.categories import Default, choices_named
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.names import name_fault
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import MAX_DETAIL, PreferenceUpdate

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.suppressed_addresses import AddressIds, SuppressionReason
    from notify_streams.preferences.writer import PreferenceWriter, StoredChoice
    from notify_streams.roles import Channel

_SOURCES: Final[dict[SuppressionReason, ChoiceSource]] = {
    "stopped": ChoiceSource.SMS_KEYWORD,
    "complaint": ChoiceSource.COMPLAINT,
    "bounced": ChoiceSource.HARD_BOUNCE,
}


class Stops:
    """Stops messages in this region. Every region gets a copy of each change by its topic."""

    def __init__(
        self, writer: PreferenceWriter, categories: Categories, partitions: int, addresses: AddressIds | None
    ) -> None:
        """`addresses`: None without `public.address_key`: then addresses cannot be suppressed."""
        self._writer = writer
        self._categories = categories
        self._partitions = partitions
        self._addresses = addresses

    @property
    def suppresses_addresses(self) -> bool:
        return self._addresses is not None

    def can_be_turned_off(self, category: str, channel: str) -> bool:
        """Whether there is something that a person can turn off; `ALL` for one or both stands for all of it."""
        return any(
            self._categories[name].channels.get(one, Default.ALWAYS) is not Default.ALWAYS
            for name, one in choices_named(self._categories, category, channel)
            if name in self._categories
        )

    async def stop_choice(
        self, user_id: str, category: str, channel: Channel | Literal["*"], source: ChoiceSource, detail: str = ""
    ) -> StoredChoice:
        """Opt a person out of a category and channel; `ALL` for one or both opts out of all that can be turned off.

        Args:
            detail: ids of the message or event; never an address.

        Raises:
            RetryLater: it is not known whether the choice is stored; repeating the call is safe.
            Refused: there is no such category or channel, or it cannot be turned off.
        """
        return await self.choose(user_id, category, channel, False, source, detail)

    async def choose(
        self,
        user_id: str,
        category: str,
        channel: Channel | Literal["*"],
        opted_in: bool,
        source: ChoiceSource,
        detail: str = "",
    ) -> StoredChoice:
        """The same for a choice of either kind. `ALL` is only for opting out."""
        if not self.can_be_turned_off(category, channel):
            raise Refused("there is nothing of this category and channel that a person can turn off")
        bucket = bucket_of(user_id, self._partitions)
        return await self._writer.put(
            user_id, bucket, category, channel, opted_in, datetime.now(UTC), source, fitting_detail(detail)
        )

    async def suppress_address(
        self,
        channel: Channel,
        address: str,
        why: SuppressionReason,
        detail: str = "",
        source: ChoiceSource | None = None,
    ) -> PreferenceUpdate:
        """Send nothing to the address any more, whatever the category; returns what is copied to the other regions.

        Args:
            source: default: `SMS_KEYWORD` of what was stopped, `COMPLAINT`, `HARD_BOUNCE`.

        Raises:
            RetryLater: it is not known whether it is stored; repeating the call is safe.
            Refused: `public.address_key` is not set.
        """
        return await self._put_address(channel, address, why, False, source or _SOURCES[why], detail)

    async def allow_address(
        self,
        channel: Channel,
        address: str,
        detail: str = "",
        why: SuppressionReason = "stopped",
        source: ChoiceSource = ChoiceSource.SMS_KEYWORD,
        at: datetime | None = None,
    ) -> None:
        """Take `why` back, as when the owner of a number sent START. Other reasons stay.

        Args:
            at: when that was, if it is known: what was stopped later stays.

        Raises:
            RetryLater: it is not known whether it is stored; repeating the call is safe.
            Refused: `public.address_key` is not set.
        """
        await self._put_address(channel, address, why, True, source, detail, at)

    async def _put_address(
        self,
        channel: Channel,
        address: str,
        why: str,
        opted_in: bool,
        source: ChoiceSource,
        detail: str,
        at: datetime | None = None,
    ) -> PreferenceUpdate:
        identity, bucket = self.identity_of(channel, address)
        now = datetime.now(UTC)
        at, is_now = (now, True) if at is None else (min(at, now), False)
        detail = fitting_detail(detail)
        stored = await self._writer.put(identity, bucket, why, channel, opted_in, at, source, detail, immediate=is_now)
        return PreferenceUpdate(identity, why, channel, opted_in, stored.updated_at, source, detail)

    def identity_of(self, channel: Channel, address: str) -> tuple[str, int]:
        """The id of an address, and its bucket.

        Raises:
            Refused: `public.address_key` is not set.
        """
        if self._addresses is None:
            raise Refused("addresses cannot be suppressed: set public.address_key, the same in all regions")
        identity = self._addresses.of(channel, address)
        return identity, self._addresses.bucket_of(identity)


def fitting_detail(detail: str) -> str:
    """The detail, which a provider has sent, as the history has it: a digest if it could not be part of an update."""
    if len(detail) <= MAX_DETAIL and name_fault("detail", detail) is None:
        return detail
    return blake2b(detail.encode(errors="surrogatepass"), digest_size=16).hexdigest()
