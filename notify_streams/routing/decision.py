"""The product's sentence: what a trigger becomes for one person. Values in, a value out; no clock, no table."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.roles import CHANNELS

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Category
    from notify_streams.records.trigger import Trigger
    from notify_streams.roles import Channel


class ReachableAddresses(Protocol):
    """How a person is reached on each channel, None where they are not: `records.users.Contacts`, or what a router keeps of them."""

    @property
    def push(self) -> str | None: ...
    @property
    def sms(self) -> str | None: ...
    @property
    def email(self) -> str | None: ...


class ChannelDecision(msgspec.Struct, frozen=True, gc=False):
    """One channel's fate: `QUEUED`, or another state with its reason."""

    channel: Channel
    state: DeliveryState
    reason: Reason | None = None


#: A fate for each channel that a trigger asked for, in the order of `roles.CHANNELS`. Equal cases share one object.
ChannelDecisions = tuple[ChannelDecision, ...]

#: What fates depend on, and the fates: few different ones, and every trigger asks. The category is kept with them, so that its `id`
#: stays its own.
_fates: dict[tuple[int, tuple[Channel, ...] | None, int], tuple[Category, ChannelDecisions]] = {}
#: Triggers may name channels in any order and number: bounds what they can make us remember.
_MOST_FATES: Final = 10_000

_EXPIRED: Final = 1
_REACH: Final = {channel: 2 << place for place, channel in enumerate(CHANNELS)}
_PUSH, _SMS, _EMAIL = _REACH["push"], _REACH["sms"], _REACH["email"]
_BITS_AT: Final = 1 + len(CHANNELS)


def decide(
    trigger: Trigger, category: Category, ways: ReachableAddresses | None, bits: int, now: datetime
) -> tuple[ChannelDecisions, datetime]:
    """Decide every channel that the trigger asks for, or that its category allows if it asks for none; and when what is queued expires.

    A trigger's own `expires_at` can only shorten the category's time to live, which counts from `created_at` where that is given
    and not in the future.

    Args:
        ways: None for a person of whom no contact is known.
        bits: the person's choices in the trigger's category (`preferences.compiled`).
    """
    born = trigger.created_at
    expires_at = (born if born is not None and born < now else now) + _time_to_live(category.ttl_s)
    if trigger.expires_at is not None and trigger.expires_at < expires_at:
        expires_at = trigger.expires_at
    case = bits << _BITS_AT
    if expires_at <= now:
        case |= _EXPIRED
    if ways is not None:
        if ways.push is not None:
            case |= _PUSH
        if ways.sms is not None:
            case |= _SMS
        if ways.email is not None:
            case |= _EMAIL
    key = (id(category), trigger.channels, case)
    found = _fates.get(key)
    if found is None:
        if len(_fates) >= _MOST_FATES:
            _fates.clear()
        wanted = category.channels if trigger.channels is None else trigger.channels
        fates = tuple(_fate(channel, category, bits, case) for channel in CHANNELS if channel in wanted)
        found = _fates[key] = category, fates
    return found[1], expires_at


def _fate(channel: Channel, category: Category, bits: int, case: int) -> ChannelDecision:
    refusal = category.refusal(channel, bits)
    if refusal is not None:
        return ChannelDecision(channel, DeliveryState.SUPPRESSED, refusal)
    if case & _EXPIRED:
        return ChannelDecision(channel, DeliveryState.EXPIRED, Reason.EXPIRED)
    if not case & _REACH[channel]:
        return ChannelDecision(channel, DeliveryState.SUPPRESSED, Reason.NO_CONTACT)
    return ChannelDecision(channel, DeliveryState.QUEUED)


@cache
def _time_to_live(ttl_s: int) -> timedelta:
    return timedelta(seconds=ttl_s)
