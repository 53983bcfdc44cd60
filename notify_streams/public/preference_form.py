"""The form of the preference page: what it shows, what it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.preferences.categories import Default, choices_named
from notify_streams.preferences.row_codec import choice_in
from notify_streams.public.pages.rendering import Line, LocalText, Section
from notify_streams.records.user_records import ALL, DEFAULT_LOCALE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from notify_streams.preferences.categories import Categories
    from notify_streams.public.pages.texts import Texts
    from notify_streams.roles import Channel

    #: Category, channel, opted in.
    Change = tuple[str, Channel, bool]

#: Fields of the form: the boxes with a tick, those that had one when the page was made, and the button.
ON: Final = "on"
WAS_ON: Final = "was"
ACTION: Final = "action"
STOP_ALL: Final = "stop_all"


def sections_of(categories: Categories, row: bytes, texts: Texts) -> list[Section]:
    """Each category, and for each of its channels whether a message is sent to a person with these choices."""
    return [
        Section(
            _in_locale(policy.title, texts) or LocalText(name, DEFAULT_LOCALE),
            _in_locale(policy.description, texts),
            [
                Line(
                    channel,
                    _field(policy.number, channel),
                    policy.refusal(channel, choice_in(row, policy.number, channel)) is None,
                    is_fixed=default is Default.ALWAYS,
                )
                for channel, default in policy.channels.items()
            ],
        )
        for name, policy in categories.items()
    ]


def changes_of(categories: Categories, fields: Mapping[str, Collection[str]]) -> list[Change]:
    """What the person changed on the page. A choice that was made elsewhere since then stays as it is.

    Args:
        fields: name → values of a sent form. What names no choice that a person has is ignored.
    """
    can_be_turned_off = choices_named(categories, ALL, ALL)
    if STOP_ALL in fields.get(ACTION, ()):
        return [(category, channel, False) for category, channel in can_be_turned_off]
    on, was_on = set(fields.get(ON, ())), set(fields.get(WAS_ON, ()))
    return [
        (category, channel, field in on)
        for category, channel in can_be_turned_off
        for field in (_field(categories[category].number, channel),)
        if (field in on) is not (field in was_on)
    ]


def _field(number: int, channel: Channel) -> str:
    return f"{number}.{channel}"


def _in_locale(by_locale: Mapping[str, str], texts: Texts) -> LocalText | None:
    for locale in (texts.locale, DEFAULT_LOCALE):
        if locale in by_locale:
            return LocalText(by_locale[locale], locale)
    return None
