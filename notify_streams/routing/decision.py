"""The decision rule: channel × policy × choice × contact × expiry → state, reason."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from notify_streams.preferences.row_codec import choice_of
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.roles import CHANNELS

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Category
    from notify_streams.records.trigger import Trigger
    from notify_streams.records.user_records import ContactRow
    from notify_streams.roles import Channel


class DecisionInput(msgspec.Struct, frozen=True, gc=False):
    """Everything that the decisions for one trigger depend on. Hashable, so that decisions can be cached by it."""

    category: str
    #: The channels that the trigger requests; None: all that its category allows.
    channels: tuple[Channel, ...] | None
    #: The recipient's choices in the category (`row_codec.choice_of`).
    choice_bits: int
    has_push: bool
    has_sms: bool
    has_email: bool
    expired: bool

    def has_contact(self, channel: Channel) -> bool:
        return {"push": self.has_push, "sms": self.has_sms, "email": self.has_email}[channel]


class ChannelDecision(msgspec.Struct, frozen=True, gc=False):
    """The state in which one channel's delivery starts: `QUEUED` without a reason, or another state with one."""

    channel: Channel
    state: DeliveryState
    reason: Reason | None = None


#: One decision for each requested channel, in the order of `roles.CHANNELS`.
ChannelDecisions = tuple[ChannelDecision, ...]


def decide(given: DecisionInput, category: Category) -> ChannelDecisions:
    """Decide every requested channel."""
    requested = category.channels if given.channels is None else given.channels
    return tuple(_decide_channel(channel, given, category) for channel in CHANNELS if channel in requested)


def _decide_channel(channel: Channel, given: DecisionInput, category: Category) -> ChannelDecision:
    """The first that applies: refused by policy or choice, expired, no contact, queued."""
    refusal = category.refusal(channel, choice_of(given.choice_bits, channel))
    if refusal is not None:
        return ChannelDecision(channel, DeliveryState.SUPPRESSED, refusal)
    if given.expired:
        return ChannelDecision(channel, DeliveryState.EXPIRED, Reason.EXPIRED)
    if not given.has_contact(channel):
        return ChannelDecision(channel, DeliveryState.SUPPRESSED, Reason.NO_CONTACT)
    return ChannelDecision(channel, DeliveryState.QUEUED)


def expiry_of(trigger: Trigger, category: Category, now: datetime) -> datetime:
    """When the notification expires: the category's time to live after `created_at`, or the trigger's `expires_at` if that is earlier.

    Without `created_at`, or with one in the future, the time to live counts from `now`.
    """
    created_at = trigger.created_at
    start = created_at if created_at is not None and created_at < now else now
    expires_at = start + _seconds(category.ttl_s)
    if trigger.expires_at is not None and trigger.expires_at < expires_at:
        return trigger.expires_at
    return expires_at


def decision_input(trigger: Trigger, choice_bits: int, addresses: ContactRow | None, expired: bool) -> DecisionInput:
    """The input for `decide`. `addresses` is None for a recipient without contacts."""
    return DecisionInput(
        trigger.category,
        trigger.channels,
        choice_bits,
        addresses is not None and (addresses.push is not None or addresses.devices is not None),
        addresses is not None and addresses.sms is not None,
        addresses is not None and addresses.email is not None,
        expired,
    )


@cache
def _seconds(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)
