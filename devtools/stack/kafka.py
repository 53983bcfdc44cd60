"""Kafka as a service: one node in KRaft mode, without topics."""

import asyncio
import base64
import contextlib
import shlex
import socket
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaConnectionError

from devtools.private_file import write_private
from devtools.stack.credentials import BROKER, KAFKA_ADMIN, SCRAM, Credentials
from devtools.stack.maven import jars, java
from devtools.stack.ports import free_port
from devtools.stack.service import Service
from notify_streams.kafka import KafkaConnection, check_connection, connection_to
from notify_streams.security import KafkaSecurity

_PROPERTIES: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.partitions": "8",
    "default.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Short sessions and no initial wait: fault tests see a rebalance within a second, not a minute.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "100",
    # A killed broker can register again only after its old session has expired (9 s by default).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "message.max.bytes": str(2 * 1024 * 1024),
    # The default buffer (128 MB) would take a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    # Retention in seconds, for tests.
    "log.retention.check.interval.ms": "5000",
    "log.segment.delete.delay.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
}
_SCRAM_LOGIN: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_JVM: Final = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"]
_LOGGING: Final = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    # What the authorizer refuses.
    "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=info",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
]


class Kafka(Service):
    """Data survive a SIGKILL: the page cache outlives the process."""

    def __init__(
        self,
        name: str,
        folder: Path,
        port: int,
        controller_port: int,
        properties: Mapping[str, str] | None = None,
        advertised: str | None = None,
        format_options: Sequence[str] = (),
        cluster: str | None = None,
    ) -> None:
        """A node.

        Args:
            advertised: the `host:port` for clients, if they use a proxy before the broker.
            format_options: of the storage tool.
            cluster: the id of its cluster; None: a new one.
        """
        super().__init__(name, folder, port)
        self._format_options = [*format_options]
        self._cluster = cluster or new_cluster_id()
        self._properties = {
            **_PROPERTIES,
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{advertised or f'127.0.0.1:{port}'}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "log.dirs": str(folder / "data"),
            **(properties or {}),
        }

    def prepare(self) -> None:
        lines = [f"{key}={value}\n" for key, value in self._properties.items()]
        write_private(self.folder / "server.properties", "".join(lines))
        options = [f"--cluster-id={self._cluster}", "--config=server.properties", *self._format_options]
        # Passwords among the options are not for the list of processes.
        words = ["kafka.tools.StorageTool", "format", *options]
        write_private(self.folder / "format.arguments", "".join(f'"{word}"\n' for word in words))

    def command(self) -> Sequence[str]:
        """Format the storage if needed, then `exec` the broker, so that it keeps the shell's pid."""
        format_it = "@format.arguments"
        run = ["kafka.Kafka", "server.properties"]
        # Formatting writes meta.properties last: without it, an earlier format did not finish.
        script = (
            f"test -f data/meta.properties || {{ rm -rf data && {_java('-XX:TieredStopAtLevel=1', format_it)}; }}"
            f" && exec {_java(*_JVM, *run)}"
        )
        return ["/bin/sh", "-c", script]

    def security(self) -> KafkaSecurity:
        """Of a client that may do everything."""
        return KafkaSecurity()

    def connection(self) -> KafkaConnection:
        """That of a client that may do everything."""
        return connection_to(self.address, self.security())

    def is_healthy(self) -> bool:
        return is_healthy(self.address)


class SecureKafka(Kafka):
    """Clients log in with SCRAM over TLS and may do what an ACL says; broker and controller show each other their certificate."""

    def __init__(self, name: str, folder: Path, port: int, controller_port: int, credentials: Credentials) -> None:
        super().__init__(name, folder, port, controller_port)
        self._credentials = credentials

    def prepare(self) -> None:
        made = self._credentials
        login = f'username="{BROKER}" password="{made.password(BROKER)}"'
        self._properties |= {
            "listeners": self._properties["listeners"].replace("PLAINTEXT:", "CLIENTS:"),
            "advertised.listeners": self._properties["advertised.listeners"].replace("PLAINTEXT:", "CLIENTS:"),
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "CLIENTS",
            "sasl.enabled.mechanisms": SCRAM,
            "sasl.mechanism.inter.broker.protocol": SCRAM,
            f"listener.name.clients.{SCRAM.lower()}.sasl.jaas.config": f"{_SCRAM_LOGIN} required {login};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(made.server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(made.ca),
            "listener.name.controller.ssl.client.auth": "required",
            # So that the certificate's user is the one that logs in.
            "listener.name.controller.ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{BROKER};User:{KAFKA_ADMIN}",
        }
        self._format_options = [
            f"--add-scram={SCRAM}=[name={user},password={made.password(user)}]" for user in (BROKER, KAFKA_ADMIN)
        ]
        super().prepare()

    def security(self) -> KafkaSecurity:
        return self._credentials.kafka_security(KAFKA_ADMIN)

    def is_healthy(self) -> bool:
        try:
            asyncio.run(check_connection(self.connection(), timeout_s=2.0))
        except (KafkaConnectionError, OSError):
            return False
        return True


def new_cluster_id() -> str:
    """As `kafka-storage random-uuid` makes them."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _java(*arguments: str) -> str:
    return shlex.join([java(), *_LOGGING, "-cp", f"{jars('kafka')}/*", *arguments])


def is_healthy(address: str, timeout_s: float = 2.0) -> bool:
    """Whether the broker's reply to a Metadata request lists at least one broker (fenced ones are not listed)."""
    client = b"notify-stack"
    # Request header v1 (api 3, version 4), then no topics, no creation: https://kafka.apache.org/protocol#The_Messages_Metadata
    request = struct.pack(">hhih", 3, 4, 1, len(client)) + client + struct.pack(">i?", 0, False)
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = connection.recv(16, socket.MSG_WAITALL)
    except OSError:
        return False
    # size, correlation id, throttle time, number of brokers
    return len(head) == 16 and struct.unpack(">iiii", head)[3] > 0


@contextlib.contextmanager
def private_broker(
    folder: Path, properties: Mapping[str, str] | None = None, advertised: str | None = None
) -> Iterator[Kafka]:
    """A broker (a cluster of one) in `folder`, for one test; stopped when the block ends. Starts in 2-6 s, takes 330 MB."""
    port = free_port()
    broker = Kafka(folder.name, folder, port, free_port({port}), properties, advertised)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextlib.contextmanager
def private_brokers(folder: Path) -> Iterator[tuple[Kafka, Kafka]]:
    """A cluster of two brokers in `folder`, for one test.

    The first one is its controller too, so only the second one may be away.
    """
    ports: set[int] = set()
    while len(ports) < 3:
        ports.add(free_port(ports))
    first_port, second_port, controller_port = ports
    cluster = new_cluster_id()
    second_only = {"process.roles": "broker", "node.id": "2", "listeners": f"PLAINTEXT://127.0.0.1:{second_port}"}
    first = Kafka("first", folder / "first", first_port, controller_port, cluster=cluster)
    second = Kafka("second", folder / "second", second_port, controller_port, second_only, cluster=cluster)
    try:
        first.start()
        second.start()
        yield first, second
    finally:
        second.stop()
        first.stop()
