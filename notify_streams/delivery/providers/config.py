"""Addresses, limits and credentials of the providers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from notify_streams.secret import Secret

#: returns a bearer token that is valid for some seconds at least; caches and refreshes it
AccessToken = Callable[[], Awaitable[str]]
#: by channel
DEFAULT_PROVIDERS: Mapping[str, str] = {"push": "fcm", "sms": "twilio", "email": "smtp"}
SmtpTls = Literal["require", "starttls", "none"]


#: The sandbox takes any credential; these are refused by the providers.
_SANDBOX_SECRET: Final = Secret("sandbox")


async def _sandbox_token() -> str:
    return "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """URLs as `http://127.0.0.1:8080`, `https://fcm.googleapis.com`, `smtp://127.0.0.1:2525`, `smtps://mail:465`.

    `repr` shows no credentials. The default credentials are valid for the sandbox only.
    """

    fcm: str
    twilio: str
    smtp: str
    apns: str | None = None

    #: the name of each channel's provider
    provider_of: Mapping[str, str] = field(default_factory=lambda: DEFAULT_PROVIDERS)

    #: limit of one call
    timeout_s: float = 5.0
    #: a call that has no connection after this time is not made
    start_within_s: float = 0.5
    #: concurrent calls, and HTTP connections
    max_in_flight: int = 256
    #: an HTTP connection without a call for this time is closed
    idle_s: float = 60.0
    #: HTTP connections that are opened at the start, ahead of calls
    warm_connections: int = 8
    #: authorities that may sign the certificates of FCM and Twilio (PEM); None: those of the system
    ca_file: str | None = None
    #: concurrent mails, and SMTP connections
    smtp_connections: int = 8

    #: a file of a credential is looked at so often; an access token that is refused is renewed if it is older than this
    credential_check_s: float = 5.0

    #: the JSON key of a Google service account, which names the project; None: `fcm_project` and `fcm_token`
    fcm_service_account: Secret | None = None
    fcm_project: str = "notify-streams"
    fcm_token: AccessToken = field(default=_sandbox_token, repr=False)

    twilio_sid: str = "ACsandbox"
    #: an API key (SK…) whose secret is `twilio_secret`; None: that is the account's token
    twilio_key_sid: Secret | None = None
    twilio_secret: Secret = _SANDBOX_SECRET
    #: a number, or a messaging service's id (MG…)
    twilio_from: str = "+15550000000"
    #: the URL for status reports; the delivery metadata is added to its query. None: no reports
    status_callback: str | None = "https://notify-streams.invalid/receipts/twilio"

    #: `require`: no mail without TLS and a certificate for the host; `starttls`: TLS if the server offers it; `none`: no TLS.
    #: None: `none` for a loopback host, else `require`.
    smtp_tls: SmtpTls | None = None
    #: authorities that may sign the mail server's certificate (PEM); None: those of the system
    smtp_ca_file: str | None = None
    mail_from: str = "notify@notify-streams.invalid"
    #: requires an encrypted connection
    smtp_username: Secret | None = None
    smtp_password: Secret | None = None

    #: Mails by SMTP are signed (DKIM) if all three are given.
    dkim_domain: str | None = None
    dkim_selector: str | None = None
    #: PEM, or an Ed25519 key's 32 bytes in base64
    dkim_key: Secret | None = None

    #: an SMS with more segments is not sent
    max_sms_segments: int = 10

    #: of SES and SNS
    aws_region: str | None = None
    #: None: that of the region
    aws_endpoint: str | None = None
    #: None: the credentials of botocore's chain
    aws_access_key_id: Secret | None = None
    aws_secret_access_key: Secret | None = None
    ses_configuration_set: str | None = None
    #: of messages that are not critical
    sns_sms_type: Literal["promotional", "transactional"] = "promotional"
    sns_sender_id: str | None = None
    sns_origination_number: str | None = None

    #: Apple's key (.p8, PEM) with its id and team; the topic is the app's bundle id
    apns_team_id: str | None = None
    apns_key_id: str | None = None
    apns_key: Secret | None = None
    apns_topic: str | None = None
    #: the VAPID key: PEM, or 32 bytes in base64url
    web_push_key: Secret | None = None
    #: where push services reach us: mailto: or https:
    web_push_subject: str | None = None
    #: endpoints may be on private and loopback addresses
    web_push_private_hosts: bool = False
