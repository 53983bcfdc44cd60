"""Kafka as a service: one node in KRaft mode, without topics."""

import base64
import contextlib
import shlex
import socket
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from devtools.stack.maven import jars, java
from devtools.stack.ports import free_port
from devtools.stack.service import Service

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
    "num.network.threads": "2",
    "num.io.threads": "4",
}
_JVM: Final = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"]
_LOGGING: Final = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
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
    ) -> None:
        """`advertised`: the `host:port` for clients, if they use a proxy before the broker. `format_options`: of the storage tool."""
        super().__init__(name, folder, port)
        self._format_options = format_options
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
        (self.folder / "server.properties").write_text("".join(lines))

    def command(self) -> Sequence[str]:
        """Format the storage if needed, then `exec` the broker, so that it keeps the shell's pid."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        format_it = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config=server.properties"]
        format_it += self._format_options
        run = ["kafka.Kafka", "server.properties"]
        # Formatting writes meta.properties last: without it, an earlier format did not finish.
        script = (
            f"test -f data/meta.properties || {{ rm -rf data && {_java('-XX:TieredStopAtLevel=1', *format_it)}; }}"
            f" && exec {_java(*_JVM, *run)}"
        )
        return ["/bin/sh", "-c", script]

    def is_healthy(self) -> bool:
        return is_healthy(self.address)


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
