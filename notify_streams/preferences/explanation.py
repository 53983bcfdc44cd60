"""Explains which choice led to a decision, for `why` and the web view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
    then: Choice | None = None,
) -> str:
    """Why preferences allowed a delivery (`reason` None) or suppressed it.

    `decided_with` is the notification's `preference_version`, `record` the user's record today, which has only the latest choice of a
    category and channel. `then`: the one of the history that was in force; without it the sentence does not guess an earlier choice.
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
        return f"{what} was allowed: {_allowed(default, choice, decided_with, then)}"
    if reason is Reason.OPTED_OUT:
        return f"{what} was suppressed: {_opted_out(choice, decided_with, then)}"
    if reason is Reason.NOT_OPTED_IN:
        return f"{what} is sent only to users who opted in, and nothing was chosen{_since(choice, decided_with)}"
    return f"preferences allowed {what}; the reason is another: {reason}"


#: Reasons of a suppressed address, in words.
OF_ADDRESS: Final = {
    Reason.STOPPED: "the address gets nothing: its owner sent STOP, or opted out with the provider",
    Reason.COMPLAINT: "the address gets nothing: its owner marked a mail as spam",
    Reason.BOUNCED: "the address gets nothing: its mail server said that it does not exist",
}


def _allowed(default: Default, choice: Choice | None, decided_with: int, then: Choice | None) -> str:
    if default is Default.ALWAYS:
        return "it cannot be turned off"
    if then is not None and then.opted_in:
        return f"{_text_of(then)}{_since(choice, decided_with)}"
    if choice is not None and choice.version <= decided_with:
        return _text_of(choice)
    if default is Default.IN and choice is None:
        return "nothing was chosen, and the default is to send"
    return f"as of version {decided_with}{_since(choice, decided_with)}"


def _opted_out(choice: Choice | None, decided_with: int, then: Choice | None) -> str:
    if then is not None and not then.opted_in:
        return f"{_text_of(then)}{_since(choice, decided_with)}"
    if choice is None:
        return f"opted out as of version {decided_with}; that record no longer exists"
    if choice.opted_in:
        return f"opted out as of version {decided_with}{_since(choice, decided_with)}"
    if choice.version <= decided_with:
        return _text_of(choice)
    return f"{_text_of(choice)}, after the decision with version {decided_with}; the check before the provider call found it"


def _since(choice: Choice | None, decided_with: int) -> str:
    if choice is None or choice.version <= decided_with:
        return ""
    return f"; since then: {_text_of(choice)}"


def _text_of(choice: Choice) -> str:
    direction = "in" if choice.opted_in else "out"
    return f"opted {direction} at {choice.at.isoformat(timespec='seconds')} (version {choice.version})"
