"""Links with which a person can turn off a kind of mail.

The mail's header has it (RFC 8058), so mail programs show a button of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.preferences.categories import Default
from notify_streams.records.link_token import LinkTokens
from notify_streams.records.user_records import DEFAULT_LOCALE

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.settings import Settings


class UnsubscribeLinks:
    """Makes the links of one region."""

    def __init__(self, tokens: LinkTokens, url: str, categories: Categories) -> None:
        """`url`: the public URL of the region's role `webhooks`."""
        self._tokens = tokens
        self._prefix = f"{url.rstrip('/')}/unsubscribe/"
        self._categories = categories

    def of(self, message: ChannelMessage) -> str | None:
        """The link of this message; None if the person cannot turn its category and channel off."""
        category = self._categories.get(message.category)
        if category is None or category.channels.get(message.channel, Default.ALWAYS) is Default.ALWAYS:
            return None
        locale = message.locale or DEFAULT_LOCALE
        return self._prefix + self._tokens.make(message.user_id, message.category, message.channel, locale)


def links_of(settings: Settings, categories: Categories) -> UnsubscribeLinks | None:
    """The region's links; None without `public.link_keys` or the region's public URL."""
    url, keys = settings.public.urls.get(settings.region), settings.public.link_key_list()
    return UnsubscribeLinks(LinkTokens(keys), url, categories) if url and keys else None
