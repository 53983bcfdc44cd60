"""Settings for TLS and log-in at Kafka, MongoDB and Redis.

What is wrong with a group: `problems`. Its paths are relative to the group: ``tls.ca_file``, ``password``.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Literal

import msgspec

from notify_streams.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a client checks its server, and its own certificate. All files are PEM."""

    #: The authorities that may sign the server's certificate; None: those of the system.
    ca_file: str | None = None
    #: The client's certificate, with its intermediates and, without `key_file`, its key.
    certificate_file: str | None = None
    key_file: str | None = None
    #: Whether the server's certificate must name the host that the client connects to.
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """A client's TLS context. Reads the files.

        Raises:
            OSError: a file cannot be read or is not valid (`ssl.SSLError` is one).
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = self.check_hostname
        if self.certificate_file is not None:
            # An empty password: OpenSSL would ask for that of an encrypted key at the terminal.
            context.load_cert_chain(self.certificate_file, self.key_file, password="")
        return context

    def problems(self) -> Iterator[str]:
        if self.key_file is not None and self.certificate_file is None:
            yield "tls.key_file is set without tls.certificate_file"
        try:
            ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            yield f"tls.ca_file: {self.ca_file} has no certificates that can be read: {_reason(error)}"
        else:
            try:
                self.context()
            except OSError as error:
                files = " and ".join(filter(None, (self.certificate_file, self.key_file)))
                yield f"tls.certificate_file: {files}: no certificate with its key, without a password: {_reason(error)}"


class OAuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to get access tokens: OAuth 2.0, client credentials grant (RFC 6749, section 4.4)."""

    token_url: str
    client_id: str
    client_secret: Secret
    scope: str | None = None
    #: The authorities that may sign the certificate of the token endpoint; None: those of the system.
    ca_file: str | None = None

    def problems(self) -> Iterator[str]:
        if not self.token_url.startswith("https://"):
            yield "oauth.token_url must be https://host/path"
        for problem in TlsSettings(self.ca_file).problems():
            yield problem.replace("tls.", "oauth.", 1)


class KafkaSecurity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How clients connect and log in to one Kafka cluster."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    #: For the SASL protocols.
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    #: For all mechanisms but OAUTHBEARER.
    username: str | None = None
    password: Secret | None = None
    oauth: OAuthSettings | None = None
    tls: TlsSettings | None = None

    @property
    def is_encrypted(self) -> bool:
        return self.protocol.endswith("SSL")

    def problems(self) -> Iterator[str]:
        sasl, oauth = self.protocol.startswith("SASL"), self.mechanism == "OAUTHBEARER"
        if sasl != (self.mechanism is not None):
            yield f"mechanism must {'' if sasl else 'not '}be set with protocol {self.protocol}"
        by_password = sasl and self.mechanism is not None and not oauth
        for name, value in (("username", self.username), ("password", self.password)):
            if by_password != (value is not None):
                yield f"{name} must {'' if by_password else 'not '}be set with {self.mechanism or self.protocol}"
        if (sasl and oauth) != (self.oauth is not None):
            yield f"oauth must {'' if oauth else 'not '}be set with {self.mechanism or self.protocol}"
        if self.oauth is not None:
            yield from self.oauth.problems()
        if self.tls is not None:
            if not self.is_encrypted:
                yield f"tls must not be set with protocol {self.protocol}: use SSL or SASL_SSL"
            yield from self.tls.problems()


class MongoSecurity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How clients connect and log in to every MongoDB shard."""

    username: str | None = None
    password: Secret | None = None
    #: The database that knows the user; None: that of the URI, else `admin`.
    auth_source: str | None = None
    #: None: the strongest SCRAM of the server. MONGODB-X509: the user is the subject of the client's certificate.
    mechanism: Literal["SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509"] | None = None
    #: None: no TLS, unless the URI says ``tls=true``.
    tls: TlsSettings | None = None

    def problems(self) -> Iterator[str]:
        if (self.username is None) != (self.password is None):
            yield "username and password must be set together"
        if self.mechanism == "MONGODB-X509":
            if self.tls is None or self.tls.certificate_file is None:
                yield "tls.certificate_file must be set with MONGODB-X509"
            if self.username is not None:
                yield "username must not be set with MONGODB-X509: the certificate names the user"
        elif self.mechanism is not None and self.username is None:
            yield f"username must be set with {self.mechanism}"
        if self.tls is not None:
            if self.tls.key_file is not None:
                yield "tls.key_file must not be set: MongoDB's driver reads the key from tls.certificate_file"
            yield from self.tls.problems()


class RedisSecurity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How clients log in to Redis. The schemes ``rediss`` and ``rediss+sentinel`` select TLS, also to the sentinels."""

    #: None: the user `default`.
    username: str | None = None
    password: Secret | None = None
    tls: TlsSettings | None = None
    #: At the sentinels; no password: they want none.
    sentinel_username: str | None = None
    sentinel_password: Secret | None = None

    def problems(self) -> Iterator[str]:
        for prefix in ("", "sentinel_"):
            if getattr(self, f"{prefix}username") is not None and getattr(self, f"{prefix}password") is None:
                yield f"{prefix}password must be set with {prefix}username"
        if self.tls is not None:
            yield from self.tls.problems()


def _reason(error: OSError) -> str:
    """Without OpenSSL's file and line numbers."""
    return (getattr(error, "reason", None) or error.strerror or "not PEM").lower().replace("_", " ")
