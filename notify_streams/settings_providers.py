"""Settings of the providers: addresses, credentials and senders, limits of calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from notify_streams import addresses
from notify_streams.roles import CHANNEL_ROLES
from notify_streams.secret import Secret
from notify_streams.settings_types import Positive, PositiveS, Rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ACCOUNT_SID: Final = re.compile(r"AC[A-Za-z0-9]{1,64}")
_TWILIO_LOGIN: Final = frozenset({"twilio_auth_token", "twilio_api_key_sid", "twilio_api_key_secret"})
_SMS_SENDER: Final = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|MG[0-9a-fA-F]{32}|(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{1,11}")
#: Setting, pattern, and the pattern in words.
_AWS_FORMS: Final = (
    ("aws_region", re.compile(r"[a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2}"), "the name of a region, as eu-west-1"),
    ("ses_configuration_set", re.compile(r"[A-Za-z0-9_-]{1,64}"), "1 to 64 letters, digits, hyphens and underscores"),
    (
        "sns_sender_id",
        re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9](?:[A-Za-z0-9-]{0,9}[A-Za-z0-9])?"),
        "1 to 11 letters, digits and hyphens, one of them a letter",
    ),
    ("sns_origination_number", re.compile(r"\+?[0-9]{3,15}"), "a number as +15550100200, or a short code"),
)


class CredentialSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Credential and sender of each provider. None of a provider's: those of the sandbox, for a loopback address only."""

    #: The JSON key of a Google service account that may send to its project by FCM.
    fcm_service_account: Secret | None = None
    twilio_account_sid: str | None = None
    #: The account's token, or else an API key.
    twilio_auth_token: Secret | None = None
    twilio_api_key_sid: Secret | None = None
    twilio_api_key_secret: Secret | None = None
    #: A number (E.164), a short code, a sender id, or a messaging service (MG…).
    twilio_sender: str | None = None
    #: Where Twilio reports what became of an SMS; None: `/webhooks/twilio` of the region's `public.urls`, or no reports without it.
    twilio_status_callback: str | None = None
    #: The address in From and in the envelope of each mail.
    mail_sender: str | None = None
    smtp_username: Secret | None = None
    smtp_password: Secret | None = None
    #: The region of SES and SNS, as eu-west-1.
    aws_region: str | None = None
    #: None: botocore's own chain (environment, profile, web identity, container, instance).
    aws_access_key_id: Secret | None = None
    aws_secret_access_key: Secret | None = None
    ses_configuration_set: str | None = None
    #: What a phone shows as the sender, where the country allows it.
    sns_sender_id: str | None = None
    #: A number or short code of the account.
    sns_origination_number: str | None = None


class MoreCredential(CredentialSettings, frozen=True, kw_only=True):
    """Another credential or sender of `provider`. What is None is that of `ProviderSettings`.

    Not of APNs and Web Push: a device token belongs to an app, a subscription to a key.
    """

    provider: Literal["fcm", "twilio", "sns", "smtp", "ses"]
    #: By role: the calls a second that it allows.
    calls_per_s: dict[str, Rate] = {}


class ProviderSettings(CredentialSettings, frozen=True, kw_only=True):
    """Addresses of the providers, their credentials, and limits of calls to them."""

    #: The provider of each channel.
    push_provider: Literal["fcm", "apns", "web_push"] = "fcm"
    sms_provider: Literal["twilio", "sns"] = "twilio"
    email_provider: Literal["smtp", "ses"] = "smtp"
    #: Who is called while the channel's provider cannot be; None: no other. Of push the device names its provider.
    sms_failover: Literal["twilio", "sns"] | None = None
    email_failover: Literal["smtp", "ses"] | None = None
    fcm: str = "https://fcm.googleapis.com"
    apns: str = "https://api.push.apple.com"
    twilio: str = "https://api.twilio.com"
    #: Authorities that may sign the certificates of push and SMS providers (PEM); None: those of the system.
    ca_file: str | None = None
    smtp: str = "smtp://localhost:25"
    #: `require`: no mail without STARTTLS and a valid certificate for the host; `starttls`: TLS if the server offers it; `none`: no TLS.
    #: None: `none` for a loopback host, else `require`. An smtps:// address always means TLS.
    smtp_tls: Literal["require", "starttls", "none"] | None = None
    #: Authorities that may sign the mail server's certificate (PEM); None: those of the system.
    smtp_ca_file: str | None = None
    #: Of one call, except to FCM; of a mail by SMTP until its content is sent.
    timeout_s: PositiveS = 5.0
    #: Of one call to FCM. Its rule is 10 s at least before a message is sent again
    #: (https://firebase.google.com/docs/cloud-messaging/scale-fcm): it may still take the first one.
    fcm_timeout_s: PositiveS = 10.0
    #: Of opening a connection to the mail server: TCP, greeting, STARTTLS and log-in. Many servers greet late, to see whether the client
    #: waits (Postfix: `postscreen_greet_wait`, 6 s).
    smtp_connect_timeout_s: PositiveS = 30.0
    #: Of the mail server's reply to the content, which it may scan first. A mail whose reply comes later is sent again, marked as a possible
    #: duplicate; a server that has died keeps its connections for so long. RFC 5321 §4.5.3.2.6 gives the reply 10 minutes.
    smtp_reply_timeout_s: PositiveS = 60.0
    #: Concurrent calls of one worker.
    max_in_flight: Positive = 256
    #: Connections of one worker to the SMTP server, each with one mail at a time. So many times the mails that one carries in a second are
    #: what the worker sends: with 50 ms a mail 320 a second. A server that takes fewer refuses the others with 421.
    smtp_connections: Positive = 16
    #: By role: the calls a second that its credential allows; shared by its workers. A role without an entry has no limit.
    calls_per_s: dict[str, Rate] = {}
    #: The same for `sms_failover` and `email_failover`.
    failover_calls_per_s: dict[str, Rate] = {}
    #: As `calls_per_s`, by provider: of the push providers beside `push_provider`, which have a credential for the devices that name them.
    push_calls_per_s: dict[Literal["fcm", "apns", "web_push"], dict[str, Rate]] = {}
    #: A text that takes more segments is not sent. Each segment is charged as an SMS.
    max_sms_segments: Positive = 10
    #: Multiplies the delays before retries. Below 1 only where the provider is a fake.
    retry_pace: Annotated[float, msgspec.Meta(ge=0.001, le=1_000)] = 1.0

    #: Mails by SMTP are signed (DKIM) if all three are set: domain and selector of the public key in DNS, and the private key (PEM, or
    #: the 32 bytes of an Ed25519 key in base64).
    dkim_domain: str | None = None
    dkim_selector: str | None = None
    dkim_key: Secret | None = None

    #: Another address than that of the region, of a server that takes the place of AWS.
    aws_endpoint: str | None = None
    #: The route of an SMS that is not critical; a critical one is always `transactional`.
    sns_sms_type: Literal["promotional", "transactional"] = "promotional"
    #: Further credentials, each with its own `calls_per_s`. A call uses one that has calls left.
    more_credentials: tuple[MoreCredential, ...] = ()

    # For `push_provider: apns`: Apple's key (the .p8 file), its id, its team; the topic is the app's bundle id.
    apns_team_id: str | None = None
    apns_key_id: Secret | None = None
    apns_key: Secret | None = None
    apns_topic: str | None = None
    # For `push_provider: web_push`.
    #: The VAPID key: PEM, or 32 bytes in base64url.
    web_push_key: Secret | None = None
    #: Where the operators of push services reach us: mailto:address or an https:// URL.
    web_push_subject: str | None = None
    #: Endpoints may be on private and loopback addresses. Only for tests: they come from outside.
    web_push_private_hosts: bool = False

    @property
    def provider_of(self) -> Mapping[str, str]:
        """Channel → provider."""
        return {"push": self.push_provider, "sms": self.sms_provider, "email": self.email_provider}

    def call_timeout_s(self, provider: str) -> float:
        """How long a call to `provider` may take."""
        if provider == "smtp":
            return self.timeout_s + self.smtp_reply_timeout_s
        # A device may name FCM where the channel's provider is another one.
        return max(self.timeout_s, self.fcm_timeout_s) if provider == self.push_provider else self.timeout_s

    def sandbox_channels(self) -> frozenset[str]:
        """The channels whose messages a local stack's sandbox gets: the provider is on this machine, and gets no credential of ours."""
        sandbox = {
            "fcm": self.fcm_service_account is None and addresses.is_loopback(self.fcm),
            "apns": addresses.is_loopback(self.apns),
            # An endpoint comes from outside: only where those on this machine are allowed can it be the sandbox's.
            "web_push": self.web_push_private_hosts,
            "twilio": self.twilio_account_sid is None and addresses.is_loopback(self.twilio),
            "smtp": self.smtp_username is None and addresses.is_loopback(self.smtp),
        }
        further = {"apns": self.apns_key, "web_push": self.web_push_key}
        providers: dict[str, set[str]] = {
            "push": {self.push_provider, *(name for name, key in further.items() if key is not None)},
            "sms": {one.sms_provider for one in self.in_order("sms")},
            "email": {one.email_provider for one in self.in_order("email")},
        }
        return frozenset(channel for channel, names in providers.items() if all(sandbox.get(name) for name in names))

    def in_order(self, channel: str) -> list[ProviderSettings]:
        """The settings with each provider of `channel` as its provider; these themselves are the first."""
        failover = getattr(self, f"{channel}_failover", None)
        if failover is None:
            return [self]
        changes = {f"{channel}_provider": failover, f"{channel}_failover": None}
        return [self, msgspec.structs.replace(self, **changes, calls_per_s=self.failover_calls_per_s)]

    def failover_problems(self) -> Iterator[str]:
        """What is wrong with the order of the providers."""
        for channel in ("sms", "email"):
            if getattr(self, f"{channel}_failover") == getattr(self, f"{channel}_provider"):
                yield f"{channel}_failover must be another provider than {channel}_provider"
        if self.push_provider in self.push_calls_per_s:
            yield f"push_calls_per_s.{self.push_provider} must be calls_per_s: {self.push_provider} is the push_provider"

    def rate_problems(self) -> Iterator[str]:
        """What is wrong with the limits of calls. One of a role that there is not would be no limit."""
        limits = {"calls_per_s": self.calls_per_s, "failover_calls_per_s": self.failover_calls_per_s}
        limits |= {f"push_calls_per_s.{provider}": one for provider, one in self.push_calls_per_s.items()}
        limits |= {
            f"more_credentials[{at}].calls_per_s": one.calls_per_s for at, one in enumerate(self.more_credentials)
        }
        for name, by_role in limits.items():
            for role in by_role.keys() - set(CHANNEL_ROLES):
                yield f"{name}.{role}: there is no such role; they are {', '.join(CHANNEL_ROLES)}"

    def mail_signature_problems(self) -> Iterator[str]:
        """What is wrong with the settings of DKIM. The SMTP client checks the values."""
        if len({value is None for value in (self.dkim_domain, self.dkim_selector, self.dkim_key)}) > 1:
            yield "dkim_domain, dkim_selector and dkim_key must be set together"

    def credential_problems(self) -> Iterator[str]:
        """What is wrong with the credentials and senders by themselves, whichever provider is used."""
        if self.twilio_account_sid is not None and not _ACCOUNT_SID.fullmatch(self.twilio_account_sid):
            yield "twilio_account_sid must be AC and letters and digits"
        if (self.twilio_api_key_sid is None) != (self.twilio_api_key_secret is None):
            yield "twilio_api_key_sid and twilio_api_key_secret must be set together"
        if self.twilio_auth_token is not None and self.twilio_api_key_sid is not None:
            yield "twilio_auth_token and twilio_api_key_sid are both set: remove one of them"
        login = self.twilio_auth_token or self.twilio_api_key_sid
        if (self.twilio_account_sid is None) != (login is None):
            yield "twilio_account_sid must be set together with twilio_auth_token or twilio_api_key_sid"
        if self.twilio_sender is not None and not _SMS_SENDER.fullmatch(self.twilio_sender):
            yield "twilio_sender must be a number as +15550100200, a short code, a sender id or a messaging service's id (MG…)"
        if (self.smtp_username is None) != (self.smtp_password is None):
            yield "smtp_username and smtp_password must be set together"
        tls = self.smtp_tls or ("none" if addresses.is_loopback(self.smtp) else "require")
        if self.smtp_username is not None and tls != "require" and not self.smtp.startswith("smtps:"):
            yield "smtp_tls must be require with smtp_username: a password is never sent in plaintext"

    def aws_problems(self) -> Iterator[str]:
        """What is wrong with the settings of SES and SNS."""
        used = {self.email_provider, self.email_failover, self.sms_provider, self.sms_failover}
        if self.aws_region is None and used & {"ses", "sns"}:
            yield "aws_region is missing: SES and SNS need the region that they are used in, as eu-west-1"
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            yield "aws_access_key_id and aws_secret_access_key must be set together"
        for name, pattern, form in _AWS_FORMS:
            value = getattr(self, name)
            if value is not None and not pattern.fullmatch(value):
                yield f"{name} must be {form}"

    def with_credential(self, more: MoreCredential) -> ProviderSettings:
        """The same with another credential, and its limits."""
        given = {name: getattr(more, name) for name in CredentialSettings.__struct_fields__}
        changes = {name: value for name, value in given.items() if value is not None}
        if changes.keys() & _TWILIO_LOGIN:
            changes = dict.fromkeys(_TWILIO_LOGIN) | changes
        return msgspec.structs.replace(self, **changes, calls_per_s=more.calls_per_s, more_credentials=())

    def each_credential(self, provider: str) -> list[ProviderSettings]:
        """The settings with each credential of `provider`; these themselves are the first."""
        return [self, *(self.with_credential(one) for one in self.more_credentials if one.provider == provider)]

    def problems_of_more_credentials(self) -> Iterator[str]:
        known = {*self.credential_problems(), *self.aws_problems()}
        for number, more in enumerate(self.more_credentials):
            one = self.with_credential(more)
            for problem in (*one.credential_problems(), *one.aws_problems()):
                if problem not in known:
                    yield f"more_credentials[{number}].{problem}"
