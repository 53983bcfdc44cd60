"""Renders title and body from a message's own text or its category's template."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.preferences.categories import Categories
    from notify_streams.records.channel_message import ChannelMessage

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
#: Any number outside 64 bits has this many digits in a row.
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_INT64_LIMIT: Final = 1 << 63
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Text(NamedTuple):
    title: str | None
    body: str


def data_of(message: ChannelMessage) -> dict[str, Any]:
    """The decoded data of the trigger. Integers outside 64 bits become strings, because few JSON encoders support them.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: not a JSON object; the router rejects those.
    """
    data = bytes(message.data)
    if not data:
        return {}
    decoded = _decode(data)
    return _long_integers_as_text(decoded) if _LONG_NUMBER.search(data) else decoded


def text_of(message: ChannelMessage, categories: Categories, data: Mapping[str, Any]) -> Text | None:
    """The rendered text; None if the category does not have the message's template.

    A placeholder without a value, or with null, becomes the empty string: a user never reads ``{amount}`` or ``None``.
    """
    if message.template is None:
        return Text(message.title, message.body or "")
    category = categories.get(message.category)
    template = None if category is None else category.templates.get(message.template)
    if template is None:
        return None

    def value(match: re.Match[str]) -> str:
        return _as_text(data.get(match[1]))

    return Text(_PLACEHOLDER.sub(value, template.title), _PLACEHOLDER.sub(value, template.body))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _long_integers_as_text(value: Any) -> Any:
    match value:
        case dict():
            return {name: _long_integers_as_text(one) for name, one in value.items()}
        case list():
            return [_long_integers_as_text(one) for one in value]
        case int() if not -_INT64_LIMIT <= value < _INT64_LIMIT:
            return str(value)
    return value
