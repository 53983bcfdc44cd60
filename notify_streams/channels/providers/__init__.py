"""Clients of the services that reach a person: FCM (push), Twilio (sms), SMTP (email).

In: one `Outgoing` message and a contact. Out: one `Result` from a closed list of outcomes, the same for every service.
Refuses to know: preferences, retries, queues, the database. Who may be written to, and when again, is decided elsewhere.
"""

from notify_streams.channels.providers.config import AccessToken, ProviderConfig
from notify_streams.channels.providers.provider import Outcome, Outgoing, Provider, Result
from notify_streams.channels.providers.wiring import CHANNELS, provider_for

__all__ = ["CHANNELS", "AccessToken", "Outcome", "Outgoing", "Provider", "ProviderConfig", "Result", "provider_for"]
