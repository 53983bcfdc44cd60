"""Constructs every Kafka client of a cluster: consumers, producers, admin clients."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakSet

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import ConnectionGroup
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

from notify_streams import refusals
from notify_streams.access_token import NoToken, TokenProvider
from notify_streams.security import KafkaSecurity, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IsolationLevel = Literal["read_committed", "read_uncommitted"]
#: aiokafka's own default.
REQUEST_TIMEOUT_S = 40.0
_LOGIN_REFUSED: Final = (AuthenticationFailedError, SaslAuthenticationFailed)
#: Kafka says so until an operator changes it.
_REFUSED: Final = (*_LOGIN_REFUSED, UnsupportedSaslMechanismError, NoToken, ssl.SSLError)
#: Missing rights, by what they are for.
_UNAUTHORIZED: Final = {
    TopicAuthorizationFailedError: "topic",
    GroupAuthorizationFailedError: "group",
    TransactionalIdAuthorizationFailed: "transactional id",
    ClusterAuthorizationFailedError: "cluster",
}
#: In a message.
_MAX_NAMES: Final = 3
#: Beside aiokafka's own `ConnectionGroup`s.
_OFFSET_CONNECTIONS: Final = 2


class AccessRefused(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """Kafka does not let this client in: certificate, log-in, access token. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where a Kafka cluster is, and how a client identifies itself there. `use` changes that for connections that begin later."""

    #: ``host:port``, separated by commas.
    servers: str
    #: aiokafka's security options; empty: plain text, no authentication. May hold credentials, so it is not in the `repr`.
    security: dict[str, Any] = field(default_factory=dict, repr=False)
    #: The settings that `security` comes from.
    group: str = field(default="kafka_security", repr=False)
    _clients: WeakSet[Any] = field(default_factory=WeakSet, repr=False, compare=False)

    def follow(self, client: Any) -> None:
        """Let an aiokafka client, which takes its options once, log in as the connection says."""
        inner = getattr(client, "_client", None) or client.client
        self._clients.add(inner)
        _set_login(inner, self.security)

    def use(self, security: Mapping[str, Any]) -> None:
        """Log in with these options of aiokafka from now on."""
        self.security.clear()
        self.security.update(security)
        for client in list(self._clients):
            _set_login(client, self.security)


@cache
def connection_to(servers: str, security: KafkaSecurity, group: str = "kafka_security") -> KafkaConnection:
    """The connection with these settings, which are named `group`. Its clients share one access token.

    Raises:
        OSError: a certificate file cannot be read.
    """
    return KafkaConnection(servers, client_options(security), group)


def client_options(security: KafkaSecurity) -> dict[str, Any]:
    """aiokafka's options for these settings.

    Raises:
        OSError: a certificate file cannot be read.
    """
    if security == KafkaSecurity():
        return {}
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.mechanism is not None:
        options["sasl_mechanism"] = security.mechanism
    if security.is_encrypted:
        options["ssl_context"] = (security.tls or TlsSettings()).context()
    if security.oauth is not None:
        options["sasl_oauth_token_provider"] = TokenProvider(security.oauth)
    elif security.password is not None:
        options |= {"sasl_plain_username": security.username, "sasl_plain_password": security.password.reveal()}
    return options


async def check_connection(connection: KafkaConnection, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
    """Connect to one broker, log in, and disconnect. `AIOKafkaConsumer(…).start()` and the like only log why they cannot.

    Raises:
        KafkaConnectionError: one sentence: which broker, and why not. `AccessRefused` if one refuses this client.
    """
    failure: KafkaConnectionError = KafkaConnectionError("no broker is configured")
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
            sentence = f"Kafka at {host}:{port} {_reason(error, connection)}"
            if isinstance(error, _REFUSED):
                failure = AccessRefused(sentence)
            elif not isinstance(failure, AccessRefused):
                failure = KafkaConnectionError(sentence)
        else:
            return
    raise failure


async def require_visible(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> None:
    """Check that the user may see these topics, whether they exist or not: to others Kafka says that they do not.

    Raises:
        TopicAuthorizationFailedError: with the others.
    """
    # The client's own method would create topics.
    answer = await admin._send_request(MetadataRequest(list(topics), allow_auto_topic_creation=False))
    found = answer.to_object()["topics"]
    hidden = {one["topic"] for one in found if one["error_code"] == TopicAuthorizationFailedError.errno}
    if hidden:
        raise TopicAuthorizationFailedError(hidden)


async def require_group(admin: AIOKafkaAdminClient, group: str) -> None:
    """Check that the user may see a group.

    Raises:
        GroupAuthorizationFailedError: it may not.
    """
    try:
        await admin.find_coordinator(group)
    except GroupAuthorizationFailedError as error:
        raise GroupAuthorizationFailedError(group) from error  # aiokafka's has a text in the place of the name
    except KafkaError:
        return  # its coordinator is being chosen


def missing_right(connection: KafkaConnection, error: BaseException) -> str | None:
    """One sentence about the right that Kafka says is missing, in `error` or in what caused it; None if it says nothing of the kind."""
    one: BaseException | None = error
    while one is not None:
        if kind := next((name for refused, name in _UNAUTHORIZED.items() if isinstance(one, refused)), None):
            named = one.args[0] if one.args else "(unnamed)"
            names = sorted(named) if isinstance(named, set) else [named]
            more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            return (
                f"Kafka at {connection.servers} refuses: this user has not the rights on {kind} {', '.join(names[:_MAX_NAMES])}{more}: "
                "`notify-streams topics acls` prints those that each role needs"
            )
        one = one.__cause__ or one.__context__
    return None


def note_missing_right(connection: KafkaConnection, error: BaseException) -> bool:
    """Tell the operator, if Kafka says that a right is missing; whether it does."""
    sentence = missing_right(connection, error)
    if sentence is not None:
        refusals.note("Kafka", sentence)
    return sentence is not None


async def note_refusal(connection: KafkaConnection, error: BaseException, timeout_s: float) -> None:
    """After `error` of a client that connects by itself, tell the operator if Kafka refuses it. Connects to find out: clients only log it."""
    if note_missing_right(connection, error):
        return
    with suppress(KafkaConnectionError):
        await _noted_check(connection, timeout_s)


async def _noted_check(connection: KafkaConnection, timeout_s: float) -> None:
    try:
        await check_connection(connection, timeout_s)
    except AccessRefused as refused:
        refusals.note("Kafka", str(refused.args[0]))
        raise


def _reason(error: Exception, connection: KafkaConnection) -> str:
    mechanism, group = connection.security.get("sasl_mechanism"), connection.group
    if isinstance(error, ssl.SSLError):
        return (
            refusals.certificate_problem(str(error), group)
            or f"cannot be reached with TLS ({error.reason}): check {group}.protocol and {group}.tls"
        )
    if isinstance(error, _LOGIN_REFUSED):
        return f"refuses the user name or password ({mechanism}): check {group}.username and {group}.password"
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"does not support {mechanism}: check {group}.mechanism"
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


def offsets_beside_fetches(consumer: Any) -> None:
    """Let a consumer ask for offsets by connections of their own.

    A broker answers the requests of one connection in their order. Behind a fetch that waits for records, beginning and end of partitions
    took as long as two of those, after each rebalance, while the partitions stood still.
    """
    client = consumer._client
    send = client.send

    async def sent(node_id: int, request: Any, *, group: int = ConnectionGroup.DEFAULT) -> Any:
        return await send(node_id, request, group=_OFFSET_CONNECTIONS if isinstance(request, OffsetRequest) else group)

    client.send = sent


def _set_login(client: Any, security: Mapping[str, Any]) -> None:
    """On an `AIOKafkaClient`, which gives these values to each new connection."""
    client._ssl_context = security.get("ssl_context")
    client._sasl_plain_username = security.get("sasl_plain_username")
    client._sasl_plain_password = security.get("sasl_plain_password")
    client._sasl_oauth_token_provider = security.get("sasl_oauth_token_provider")


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
        connection.follow(self)

    async def start(self) -> None:
        await _noted_check(self._connection, self._timeout_s)
        await super().start()  # type: ignore[misc]


class _Consumer(_Checked, AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """A consumer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        offsets_beside_fetches(self)


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
