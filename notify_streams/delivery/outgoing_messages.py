"""What a provider is called with for a delivery."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult, unsendable
from notify_streams.delivery.rendering import data_of, text_of
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.templates.catalog import RenderingError

if TYPE_CHECKING:
    from notify_streams.delivery.mail_links import MailLinks
    from notify_streams.delivery.partition import Delivery
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.records.devices import Devices
    from notify_streams.templates.catalog import Templates


class OutgoingMessages:
    """Makes the messages of one worker."""

    def __init__(
        self, categories: Categories, templates: Templates, region: str | None, mail_links: MailLinks | None
    ) -> None:
        """
        Args:
            region: in the delivery metadata; None: they do not have the way of a receipt.
            mail_links: None where the channel has none.
        """
        self._categories = categories
        self._templates = templates
        self._region = region
        self._mail_links = mail_links

    def of(self, delivery: Delivery, provider: str) -> Outgoing | list[Outgoing] | ProviderResult:
        """The rendered message, or why `provider` cannot send it.

        A list, with one for each device, if the person has devices. Sets `template_version` of the delivery.
        """
        message = delivery.message
        try:
            data = data_of(message)
        except DECODE_ERRORS:
            return unsendable(provider, ProviderOutcome.RENDERING, "`data` is not a JSON object")
        links = self._mail_links
        unsubscribe = None if links is None else links.unsubscribe(message)
        try:
            text = text_of(message, self._categories, self._templates, data, links, unsubscribe)
        except RenderingError as error:
            return unsendable(provider, ProviderOutcome.RENDERING, str(error))
        delivery.template_version = text.version
        outgoing = Outgoing(
            delivery_id=message.delivery_id,
            notification_id=message.notification_id,
            channel=message.channel,
            to=message.to,
            title=text.title,
            body=text.body,
            html=text.html,
            attempt=delivery.number,
            possible_duplicate=delivery.in_doubt,
            critical=message.critical,
            collapse_key=message.collapse_key,
            expires_at_ms=None if message.expires_at is None else int(message.expires_at.timestamp() * 1000),
            data=data,
            decided_at_ms=int(message.decided_at.timestamp() * 1000),
            region=self._region,
            bucket=delivery.partition.number,
            unsubscribe=unsubscribe,
            on_content=partial(_content_begins, delivery) if message.channel == "email" else None,
        )
        if message.devices is None:
            return outgoing
        return self._for_devices(message, message.devices, outgoing, text.version)

    def _for_devices(
        self, message: ChannelMessage, devices: Devices, outgoing: Outgoing, person_version: str | None
    ) -> list[Outgoing]:
        """`outgoing` for each device, in the device's locale if the template fits the data in it."""
        calls = []
        for device in devices:
            call = msgspec.structs.replace(outgoing, to=device.token, provider=device.provider, app=device.app)
            if device.locale not in (None, message.locale):
                in_locale = msgspec.structs.replace(message, locale=device.locale)
                with suppress(RenderingError):  # then the text in the person's locale
                    text = text_of(in_locale, self._categories, self._templates, outgoing.data or {})
                    version = None if text.version == person_version else text.version
                    call = msgspec.structs.replace(call, title=text.title, body=text.body, template_version=version)
            calls.append(call)
        return calls


def _content_begins(delivery: Delivery) -> None:
    delivery.content_began = time.monotonic()
