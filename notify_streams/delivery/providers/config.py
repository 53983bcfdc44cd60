"""What a client of a provider is made of: settings, sandbox credentials, limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

from notify_streams.secret import Secret
from notify_streams.settings_providers import ProviderSettings

#: returns a bearer token that is valid for some seconds at least; caches and refreshes it
AccessToken = Callable[[], Awaitable[str]]
SmtpTls = Literal["require", "starttls", "none"]

#: The sandbox takes any credential; these are refused by the providers.
_SANDBOX_SECRET: Final = Secret("sandbox")


async def _sandbox_token() -> str:
    return "sandbox"


class ProviderConfig(ProviderSettings, frozen=True, kw_only=True):
    """URLs as `http://127.0.0.1:8080`, `https://fcm.googleapis.com`, `smtp://127.0.0.1:2525`, `smtps://mail:465`.

    `repr` shows no credentials. The default credentials are valid for the sandbox only.
    """

    # Settings that have a value for the sandbox.
    twilio_account_sid: str = "ACsandbox"
    twilio_auth_token: Secret | None = _SANDBOX_SECRET
    twilio_sender: str = "+15550000000"
    #: the delivery metadata is added to its query
    twilio_status_callback: str | None = "https://notify-streams.invalid/receipts/twilio"
    mail_sender: str = "notify@notify-streams.invalid"

    #: a call that has no connection after this time is not made
    start_within_s: float = 0.5
    #: an HTTP connection that is not open after this time is given up; it is opened for later calls if its own one has been given up
    connect_s: float = 2.0
    #: an HTTP connection without a call for this time is closed
    idle_s: float = 60.0
    #: A connection to the mail server without a mail for this time is not used again: firewalls and load balancers forget one silently (Azure's
    #: after 240 s), and the mail would wait for its time-out. Servers keep one for 300 s at least (RFC 5321 §4.5.3.2.7).
    smtp_idle_s: float = 200.0
    #: HTTP connections that are opened at the start, ahead of calls
    warm_connections: int = 8
    #: a file of a credential is looked at so often; an access token that is refused is renewed if it is older than this
    credential_check_s: float = 5.0
    #: without `fcm_service_account`
    fcm_project: str = "notify-streams"
    fcm_token: AccessToken = _sandbox_token

    @property
    def twilio_secret(self) -> Secret:
        """The API key's, if there is one, else the account's."""
        secret = self.twilio_auth_token if self.twilio_api_key_sid is None else self.twilio_api_key_secret
        return _SANDBOX_SECRET if secret is None else secret
