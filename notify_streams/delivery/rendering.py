"""The words of a message: its own title and body, or its category's template filled from its data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.preferences.categories import Categories
    from notify_streams.records.channel_message import ChannelMessage

_NAME: Final = re.compile(r"\{(\w+)\}")
#: Any number outside 64 bits has this many digits in a row.
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_WIDEST: Final = 1 << 63
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Text(NamedTuple):
    title: str | None
    body: str


def data_of(message: ChannelMessage) -> dict[str, Any]:
    """The trigger's data, decoded; an integer outside 64 bits, which few encoders can write again, as its digits.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: it is no JSON object (the router lets none of those through).
    """
    data = bytes(message.data)
    if not data:
        return {}
    decoded = _decode(data)
    return _without_giants(decoded) if _LONG_NUMBER.search(data) else decoded


def text_of(message: ChannelMessage, categories: Categories, data: Mapping[str, Any]) -> Text | None:
    """What to say, or None if the message names a template that its category does not have.

    A name that the data does not hold, or holds as null, becomes nothing: a person never reads ``{amount}`` or ``None``.
    """
    if message.template is None:
        return Text(message.title, message.body or "")
    category = categories.get(message.category)
    template = None if category is None else category.templates.get(message.template)
    if template is None:
        return None

    def value(found: re.Match[str]) -> str:
        return _word(data.get(found[1]))

    return Text(_NAME.sub(value, template.title), _NAME.sub(value, template.body))


def _word(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _without_giants(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_giants(one) for name, one in value.items()}
        case list():
            return [_without_giants(one) for one in value]
        case int() if not -_WIDEST <= value < _WIDEST:
            return str(value)
    return value
