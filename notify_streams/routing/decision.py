"""The product's sentence: what a trigger becomes for one person. Values in, a value out; no clock, no table."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

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


def decide(trigger: Trigger, category: Category, profile: Profile, now: datetime) -> Decision:
    """Decide every channel that the trigger asks for, or that its category allows if it asks for none.

    A trigger's own `expires_at` can only shorten the category's time to live, which counts from `created_at` where that is given
    and not in the future.
    """
    born = trigger.created_at
    expires_at = (born if born is not None and born < now else now) + timedelta(seconds=category.ttl_s)
    if trigger.expires_at is not None and trigger.expires_at < expires_at:
        expires_at = trigger.expires_at
    wanted = category.channels if trigger.channels is None else trigger.channels
    expired = expires_at <= now
    return Decision(
        tuple(_plan(channel, category, profile, expired) for channel in CHANNELS if channel in wanted),
        expires_at,
    )


def _plan(channel: Channel, category: Category, profile: Profile, expired: bool) -> Planned:
    refusal = category.refusal(channel, profile.bits)
    if refusal is not None:
        return Planned(channel, State.SUPPRESSED, refusal)
    if expired:
        return Planned(channel, State.EXPIRED, Reason.EXPIRED)
    to = None if profile.contacts is None else getattr(profile.contacts, channel)
    if to is None:
        return Planned(channel, State.SUPPRESSED, Reason.NO_CONTACT)
    return Planned(channel, State.QUEUED, None, to)
