"""Links in mails: to stop one kind of mail, and to the preference page.

The first one is in the mail's header too (RFC 8058), so mail programs show a button of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.preferences.categories import Default
from notify_streams.records.link_token import LinkTokens
from notify_streams.records.user_records import ALL, DEFAULT_LOCALE

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.settings import Settings


class MailLinks:
    """Makes the links of one region."""

    def __init__(self, tokens: LinkTokens, url: str, categories: Categories) -> None:
        """`url`: the public URL of the region's role `webhooks`."""
        self._tokens = tokens
        self._url = url.rstrip("/")
        self._categories = categories

    def unsubscribe(self, message: ChannelMessage) -> str | None:
        """Stops the message's category and channel; None if the person cannot."""
        category = self._categories.get(message.category)
        if category is None or category.channels.get(message.channel, Default.ALWAYS) is Default.ALWAYS:
            return None
        locale = message.locale or DEFAULT_LOCALE
        return (
            f"{self._url}/unsubscribe/{self._tokens.make(message.user_id, message.category, message.channel, locale)}"
        )

    def preferences(self, user_id: str, locale: str) -> str:
        """The person's preference page."""
        return f"{self._url}/preferences/{self._tokens.make(user_id, ALL, ALL, locale)}"


def mail_links_of(settings: Settings, categories: Categories) -> MailLinks | None:
    """The region's links; None without `public.link_keys` or the region's public URL."""
    url, keys = settings.public.urls.get(settings.region), settings.public.link_key_list()
    return MailLinks(LinkTokens(keys), url, categories) if url and keys else None
