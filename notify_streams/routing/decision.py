"""The product's sentence: what a trigger becomes for one person. Values in, a value out; no clock, no table."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.records.reasons import Reason, State
from notify_streams.roles import CHANNELS

if TYPE_CHECKING:
    from notify_streams.preferences.policy import Category
    from notify_streams.records.trigger import Trigger
    from notify_streams.records.users import Contacts
    from notify_streams.roles import Channel


class Profile(msgspec.Struct, frozen=True, gc=False):
    """What is known of a person when a trigger is decided."""

    contacts: Contacts | None
    preference_version: int
    #: The person's choices in the trigger's category (`preferences.compiled`).
    bits: int


class Planned(msgspec.Struct, frozen=True, gc=False):
    """One channel's fate: `QUEUED` with the contact it goes to, or another state with its reason."""

    channel: Channel
    state: State
    reason: Reason | None = None
    to: str | None = None


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What a trigger becomes: one `Planned` for each channel it asked for, in the order of `roles.CHANNELS`."""

    deliveries: tuple[Planned, ...]
    expires_at: datetime


#: What a channel's fate depends on but for the contact itself, and the fates: few different ones, and every trigger asks. The category is
#: kept with them, so that its `id` stays its own.
_fates: dict[tuple[int, tuple[Channel, ...] | None, int, bool], tuple[Category, tuple[Planned, ...]]] = {}
#: Triggers may name channels in any order and number: bounds what they can make us remember.
_MOST_FATES: Final = 10_000


def decide(trigger: Trigger, category: Category, profile: Profile, now: datetime) -> Decision:
    """Decide every channel that the trigger asks for, or that its category allows if it asks for none.

    A trigger's own `expires_at` can only shorten the category's time to live, which counts from `created_at` where that is given
    and not in the future.
    """
    born = trigger.created_at
    expires_at = (born if born is not None and born < now else now) + _time_to_live(category.ttl_s)
    if trigger.expires_at is not None and trigger.expires_at < expires_at:
        expires_at = trigger.expires_at
    contacts = profile.contacts
    return Decision(
        tuple(
            [
                fate if fate.state is not State.QUEUED else _addressed(fate.channel, contacts)
                for fate in _fates_of(category, trigger.channels, profile.bits, expires_at <= now)
            ]
        ),
        expires_at,
    )


def _fates_of(category: Category, asked: tuple[Channel, ...] | None, bits: int, expired: bool) -> tuple[Planned, ...]:
    key = (id(category), asked, bits, expired)
    found = _fates.get(key)
    if found is None:
        if len(_fates) >= _MOST_FATES:
            _fates.clear()
        wanted = category.channels if asked is None else asked
        fates = tuple(_fate(channel, category, bits, expired) for channel in CHANNELS if channel in wanted)
        found = _fates[key] = category, fates
    return found[1]


def _fate(channel: Channel, category: Category, bits: int, expired: bool) -> Planned:
    refusal = category.refusal(channel, bits)
    if refusal is not None:
        return Planned(channel, State.SUPPRESSED, refusal)
    if expired:
        return Planned(channel, State.EXPIRED, Reason.EXPIRED)
    return Planned(channel, State.QUEUED)


def _addressed(channel: Channel, contacts: Contacts | None) -> Planned:
    to = None if contacts is None else getattr(contacts, channel)
    if to is None:
        return Planned(channel, State.SUPPRESSED, Reason.NO_CONTACT)
    return Planned(channel, State.QUEUED, None, to)


@cache
def _time_to_live(ttl_s: int) -> timedelta:
    return timedelta(seconds=ttl_s)
