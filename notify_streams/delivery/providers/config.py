"""Where the providers are and how to speak to them: one frozen value, read from the settings by the caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

#: gives a bearer token that is valid now; it caches and refreshes by itself
AccessToken = Callable[[], Awaitable[str]]


async def _sandbox_token() -> str:
    return "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """URLs as `http://127.0.0.1:8080`, `https://fcm.googleapis.com`, `smtp://127.0.0.1:2525`, `smtps://mail:465`.

    Credentials are kept out of `repr`. The defaults of the credentials are what the sandbox takes, and no real provider.
    """

    fcm: str
    twilio: str
    smtp: str
    apns: str | None = None

    #: a call ends within this
    timeout_s: float = 5.0
    #: a call has a connection and begins within this, or sends nothing
    start_within_s: float = 0.5
    #: calls under way at once, and so HTTP connections
    max_in_flight: int = 256
    #: persistent SMTP connections, and so mails under way at once
    smtp_connections: int = 8

    fcm_project: str = "notify-streams"
    fcm_token: AccessToken = field(default=_sandbox_token, repr=False)

    twilio_sid: str = "ACsandbox"
    twilio_secret: str = field(default="sandbox", repr=False)
    #: a number, or a messaging service's id (MG…)
    twilio_from: str = "+15550000000"
    #: where the provider reports deliveries; the marks of each delivery are in its query
    status_callback: str = "https://notify-streams.invalid/receipts/twilio"

    mail_from: str = "notify@notify-streams.invalid"
    #: with a user name, the connection must be encrypted
    smtp_username: str | None = None
    smtp_password: str | None = field(default=None, repr=False)
