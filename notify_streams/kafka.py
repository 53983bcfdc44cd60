"""Constructs every Kafka client of a cluster: consumers, producers, admin clients."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from notify_streams.access_token import NoToken, TokenProvider
from notify_streams.security import KafkaSecurity, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

IsolationLevel = Literal["read_committed", "read_uncommitted"]
#: aiokafka's own default.
REQUEST_TIMEOUT_S = 40.0
_LOGIN_REFUSED: Final = (AuthenticationFailedError, SaslAuthenticationFailed)


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where a Kafka cluster is, and how a client identifies itself there."""

    #: ``host:port``, separated by commas.
    servers: str
    #: aiokafka's security options; empty: plain text, no authentication. May hold credentials, so it is not in the `repr`.
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)


@cache
def connection_to(servers: str, security: KafkaSecurity) -> KafkaConnection:
    """The connection with these settings. Its clients share one access token.

    Raises:
        OSError: a certificate file cannot be read.
    """
    if security == KafkaSecurity():
        return KafkaConnection(servers)
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.mechanism is not None:
        options["sasl_mechanism"] = security.mechanism
    if security.is_encrypted:
        options["ssl_context"] = (security.tls or TlsSettings()).context()
    if security.oauth is not None:
        options["sasl_oauth_token_provider"] = TokenProvider(security.oauth)
    elif security.password is not None:
        options |= {"sasl_plain_username": security.username, "sasl_plain_password": security.password.reveal()}
    return KafkaConnection(servers, options)


async def check_connection(connection: KafkaConnection, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
    """Connect to one broker, log in, and disconnect. `AIOKafkaConsumer(…).start()` and the like only log why they cannot.

    Raises:
        KafkaConnectionError: one sentence: which broker, and why not.
    """
    reason = "no broker is configured"
    for host, port, _ in collect_hosts(connection.servers):
        try:
            broker = await create_conn(host, port, request_timeout_ms=int(timeout_s * 1000), **connection.security)
            try:
                metadata = await broker.send(MetadataRequest([]))
                if not metadata.brokers:  # so it answers after it has refused an access token
                    raise KafkaConnectionError
            finally:
                broker.close()
        except (OSError, KafkaError) as error:
            reason = f"Kafka at {host}:{port} {_reason(error, connection.security)}"
        else:
            return
    raise KafkaConnectionError(reason)


def _reason(error: Exception, security: Mapping[str, Any]) -> str:
    mechanism = security.get("sasl_mechanism")
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"cannot be reached with TLS: {error.reason}"
    if isinstance(error, _LOGIN_REFUSED):
        return f"refuses the user name or password ({mechanism})"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"does not support {mechanism}"
    if isinstance(error, NoToken):
        return f"needs an access token: {error.args[0]}"
    if isinstance(error, TimeoutError):
        return "does not respond in time"
    if isinstance(error, OSError):
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or "no address accepts connections"
        return f"cannot be reached: {reason}"
    hint = "the access token" if mechanism == "OAUTHBEARER" else "the security protocol and the client's certificate"
    return f"refuses the connection: check {hint}"


class _Checked:
    """A client whose `start` says why it cannot connect."""

    def __init__(self, connection: KafkaConnection, request_timeout_s: float, **options: Any) -> None:
        self._connection = connection
        self._timeout_s = request_timeout_s
        super().__init__(
            bootstrap_servers=connection.servers,  # type: ignore[call-arg]
            request_timeout_ms=int(request_timeout_s * 1000),
            **connection.security,
            **options,
        )

    async def start(self) -> None:
        await check_connection(self._connection, self._timeout_s)
        await super().start()  # type: ignore[misc]


class _Consumer(_Checked, AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """A consumer."""


class _Producer(_Checked, AIOKafkaProducer):  # type: ignore[misc]
    """A producer."""


class _Admin(_Checked, AIOKafkaAdminClient):  # type: ignore[misc]
    """An admin client."""


def consumer(
    connection: KafkaConnection,
    *,
    group: str | None = None,
    isolation_level: IsolationLevel = "read_uncommitted",
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    **options: Any,
) -> AIOKafkaConsumer[bytes, bytes]:
    """A consumer that is not started. It commits only what the caller commits; without an offset it begins at the earliest record."""
    return _Consumer(
        connection,
        request_timeout_s,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
        **options,
    )


def producer(
    connection: KafkaConnection, *, request_timeout_s: float = REQUEST_TIMEOUT_S, **options: Any
) -> AIOKafkaProducer[bytes, bytes]:
    """A producer that is not started: idempotent, acknowledged by all in-sync replicas."""
    return _Producer(connection, request_timeout_s, acks="all", enable_idempotence=True, **options)


def admin(connection: KafkaConnection, *, request_timeout_s: float = REQUEST_TIMEOUT_S) -> AIOKafkaAdminClient:
    """An admin client that is not started."""
    return _Admin(connection, request_timeout_s)
