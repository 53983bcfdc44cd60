"""Creates the provider client of a channel."""

from __future__ import annotations

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.fcm import Fcm
from notify_streams.delivery.providers.provider import Provider
from notify_streams.delivery.providers.smtp import Smtp
from notify_streams.delivery.providers.twilio import Twilio

CHANNELS = ("push", "sms", "email")


def provider_for(channel: str, config: ProviderConfig) -> Provider:
    """The client of `channel`, not started.

    Raises:
        ValueError: `channel` is not one of `CHANNELS`.
    """
    if channel == "push":
        return Fcm(config)
    if channel == "sms":
        return Twilio(config)
    if channel == "email":
        return Smtp(config)
    raise ValueError(f"no provider for channel {channel!r}; use one of {', '.join(CHANNELS)}")
