"""Clients of the providers of push, SMS and mail.

Each sends one `Outgoing` message and returns one `ProviderResult`. Checks, claims and retries are the caller's task.
"""

from notify_streams.delivery.providers.call_limit import CallLimit
from notify_streams.delivery.providers.config import AccessToken, ProviderConfig
from notify_streams.delivery.providers.credential_choice import provider_with_budgets
from notify_streams.delivery.providers.factory import CHANNELS, provider_for
from notify_streams.delivery.providers.from_settings import check_credentials, provider_config
from notify_streams.delivery.providers.provider import (
    DeviceResult,
    Outgoing,
    Provider,
    ProviderOutcome,
    ProviderResult,
    unsendable,
)
from notify_streams.delivery.providers.push_choice import clients_with_budgets

__all__ = [
    "CHANNELS",
    "AccessToken",
    "CallLimit",
    "DeviceResult",
    "Outgoing",
    "Provider",
    "ProviderConfig",
    "ProviderOutcome",
    "ProviderResult",
    "check_credentials",
    "clients_with_budgets",
    "provider_config",
    "provider_for",
    "provider_with_budgets",
    "unsendable",
]
