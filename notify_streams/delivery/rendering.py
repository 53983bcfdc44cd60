"""Renders a message: its own text, or its template for the person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.records.user_records import DEFAULT_LOCALE, DEFAULT_TIME_ZONE
from notify_streams.templates.catalog import PREFERENCES_URL, UNSUBSCRIBE_URL, RenderingError, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.delivery.mail_links import MailLinks
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.templates.catalog import Templates

#: Any number outside 64 bits has this many digits in a row.
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_INT64_LIMIT: Final = 1 << 63
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


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


def text_of(
    message: ChannelMessage,
    categories: Categories,
    templates: Templates,
    data: Mapping[str, Any],
    links: MailLinks | None = None,
    unsubscribe: str | None = None,
) -> Text:
    """The rendered text.

    Args:
        links: make `preferences_url` for a mail that has links.
        unsubscribe: `unsubscribe_url` of a mail.

    Raises:
        RenderingError: the category does not have the message's template, or the template does not fit the data.
    """
    if message.template is None:
        return Text(message.title, message.body or "")
    category = categories.get(message.category)
    locale = message.locale or DEFAULT_LOCALE
    template = templates.in_locale(message.template, locale)
    if category is None or message.template not in category.templates or template is None:
        raise RenderingError("the category has no such template")
    if template.links and message.channel == "email":
        page = None if links is None else links.preferences(message.user_id, locale)
        data = {**data, PREFERENCES_URL: page, UNSUBSCRIBE_URL: unsubscribe}
    return template.render(message.channel, locale, message.time_zone or DEFAULT_TIME_ZONE, data)


def _long_integers_as_text(value: Any) -> Any:
    match value:
        case dict():
            return {name: _long_integers_as_text(one) for name, one in value.items()}
        case list():
            return [_long_integers_as_text(one) for one in value]
        case int() if not -_INT64_LIMIT <= value < _INT64_LIMIT:
            return str(value)
    return value
