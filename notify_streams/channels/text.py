"""The words of a message: its own title and body, or its category's template filled from its data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from notify_streams.preferences.policy import Categories
    from notify_streams.records.channel_message import ChannelMessage

_NAME: Final = re.compile(r"\{(\w+)\}")


class Text(NamedTuple):
    title: str | None
    body: str


def data_of(message: ChannelMessage) -> dict[str, Any]:
    """The trigger's data, decoded."""
    data = bytes(message.data)
    decoded: dict[str, Any] = msgspec.json.decode(data) if data else {}
    return decoded


def text_of(message: ChannelMessage, categories: Categories) -> Text | None:
    """What to say, or None if the message names a template that its category does not have.

    A name that the data does not hold becomes nothing, so that a person never reads ``{amount}``.
    """
    if message.template is None:
        return Text(message.title, message.body or "")
    category = categories.get(message.category)
    template = None if category is None else category.templates.get(message.template)
    if template is None:
        return None
    data = data_of(message)

    def value(found: re.Match[str]) -> str:
        return str(data.get(found[1], ""))

    return Text(_NAME.sub(value, template.title), _NAME.sub(value, template.body))
