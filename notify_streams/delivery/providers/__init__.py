"""Clients of the services that reach a person: FCM (push), Twilio (sms), SMTP (email).

In: one `Outgoing` message and a contact. Out: one `ProviderResult` from a closed list of outcomes, the same for every service.
Refuses to know: preferences, retries, queues, the database. Who may be written to, and when again, is decided elsewhere.
"""

from notify_streams.delivery.providers.config import AccessToken, ProviderConfig
from notify_streams.delivery.providers.factory import CHANNELS, provider_for
from notify_streams.delivery.providers.provider import Outgoing, Provider, ProviderOutcome, ProviderResult

__all__ = [
    "CHANNELS",
    "AccessToken",
    "Outgoing",
    "Provider",
    "ProviderConfig",
    "ProviderOutcome",
    "ProviderResult",
    "provider_for",
]
