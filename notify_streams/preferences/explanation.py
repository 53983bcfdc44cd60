"""Which choice led to what, in words: for `why` and for people who answer complaints. Values in, a sentence out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.preferences.categories import Default
from notify_streams.records.outcomes import Reason

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.choices import Choice, PreferenceRecord
    from notify_streams.roles import Channel


def explain(
    categories: Categories,
    category: str,
    channel: Channel,
    reason: Reason | None,
    decided_with: int,
    record: PreferenceRecord,
) -> str:
    """Why a delivery was allowed (`reason` None) or suppressed, as far as preferences decided it.

    `decided_with` is the notification's `preference_version`, `record` the person's record today. Only the latest choice of a category
    and channel is kept, so a choice that was replaced since is named as such and not guessed at.
    """
    policy = categories.get(category)
    if policy is None:
        return f"there is no category {category!r} today"
    default = policy.channels.get(channel)
    what = f"{category} by {channel}"
    if reason is Reason.CHANNEL_NOT_ALLOWED or default is None:
        return f"{what} is not allowed: the category uses {', '.join(policy.channels)}"
    choice = record.choices.get(policy.number, {}).get(channel)
    if reason is None:
        return f"{what} was allowed: {_allowed(default, choice, decided_with)}"
    if reason is Reason.OPTED_OUT:
        return f"{what} was suppressed: {_opted_out(choice, decided_with)}"
    if reason is Reason.NOT_OPTED_IN:
        return f"{what} is sent only to who opted in, and nothing was chosen{_since(choice, decided_with)}"
    return f"preferences allowed {what}; the reason is another: {reason}"


def _allowed(default: Default, choice: Choice | None, decided_with: int) -> str:
    if default is Default.ALWAYS:
        return "it cannot be turned off"
    if choice is not None and choice.version <= decided_with:
        return f"{_said(choice)}"
    if default is Default.IN and choice is None:
        return "nothing was chosen, and the default is to send"
    return f"as of version {decided_with}{_since(choice, decided_with)}"


def _opted_out(choice: Choice | None, decided_with: int) -> str:
    if choice is None:
        return f"opted out as of version {decided_with}; the record that says so is gone"
    if choice.opted_in:
        return f"opted out as of version {decided_with}{_since(choice, decided_with)}"
    if choice.version <= decided_with:
        return _said(choice)
    return (
        f"{_said(choice)}, after it was decided with version {decided_with}; the check before the provider call saw it"
    )


def _since(choice: Choice | None, decided_with: int) -> str:
    if choice is None or choice.version <= decided_with:
        return ""
    return f"; since then: {_said(choice)}"


def _said(choice: Choice) -> str:
    direction = "in" if choice.opted_in else "out"
    return f"opted {direction} at {choice.at.isoformat(timespec='seconds')} (version {choice.version})"
