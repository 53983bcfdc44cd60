"""Creates the provider client of a channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from notify_streams.delivery.providers.apns import Apns
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.fcm import Fcm
from notify_streams.delivery.providers.provider import Provider
from notify_streams.delivery.providers.ses import Ses
from notify_streams.delivery.providers.smtp import Smtp
from notify_streams.delivery.providers.sns import Sns
from notify_streams.delivery.providers.twilio import Twilio
from notify_streams.delivery.providers.web_push import WebPush

#: The clients by channel and name; a new provider has one entry here.
PROVIDERS: Mapping[str, Mapping[str, Callable[[ProviderConfig], Provider]]] = {
    "push": {"fcm": Fcm, "apns": Apns, "web_push": WebPush},
    "sms": {"twilio": Twilio, "sns": Sns},
    "email": {"smtp": Smtp, "ses": Ses},
}
CHANNELS = tuple(PROVIDERS)


def provider_for(channel: str, config: ProviderConfig) -> Provider:
    """The configured client of `channel`, not started.

    Raises:
        ValueError: `channel` is not one of `CHANNELS`, or has no such provider.
        SettingsError: a setting of the provider is missing or wrong.
        BadCredential: a credential of APNs or Web Push is missing, or cannot work.
    """
    if channel not in PROVIDERS:
        raise ValueError(f"no provider for channel {channel!r}; use one of {', '.join(CHANNELS)}")
    of_channel = PROVIDERS[channel]
    name = config.provider_of[channel]
    if name not in of_channel:
        raise ValueError(f"no provider {name!r} for channel {channel}; use one of {', '.join(of_channel)}")
    return of_channel[name](config)
