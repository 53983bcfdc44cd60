"""Constructs every Kafka client of a cluster: consumers, producers, admin clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

if TYPE_CHECKING:
    from collections.abc import Mapping

IsolationLevel = Literal["read_committed", "read_uncommitted"]
#: aiokafka's own default.
REQUEST_TIMEOUT_S = 40.0


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where a Kafka cluster is, and how a client identifies itself there."""

    #: ``host:port``, separated by commas.
    servers: str
    #: aiokafka's security options; empty: plain text, no authentication. May hold credentials, so it is not in the `repr`.
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)


def consumer(
    connection: KafkaConnection,
    *,
    group: str | None = None,
    isolation_level: IsolationLevel = "read_uncommitted",
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    **options: Any,
) -> AIOKafkaConsumer[bytes, bytes]:
    """A consumer that is not started. It commits only what the caller commits; without an offset it begins at the earliest record."""
    return AIOKafkaConsumer(
        bootstrap_servers=connection.servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
        request_timeout_ms=int(request_timeout_s * 1000),
        **connection.security,
        **options,
    )


def producer(
    connection: KafkaConnection, *, request_timeout_s: float = REQUEST_TIMEOUT_S, **options: Any
) -> AIOKafkaProducer[bytes, bytes]:
    """A producer that is not started: idempotent, acknowledged by all in-sync replicas."""
    return AIOKafkaProducer(
        bootstrap_servers=connection.servers,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=int(request_timeout_s * 1000),
        **connection.security,
        **options,
    )


def admin(connection: KafkaConnection, *, request_timeout_s: float = REQUEST_TIMEOUT_S) -> AIOKafkaAdminClient:
    """An admin client that is not started."""
    return AIOKafkaAdminClient(
        bootstrap_servers=connection.servers,
        request_timeout_ms=int(request_timeout_s * 1000),
        **connection.security,
    )
