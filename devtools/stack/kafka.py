"""A Kafka broker: one node, KRaft mode, formatted by Kafka's own StorageTool. In: ports and a folder; out: `host:port`.

`private_broker` gives a test a broker of its own. It refuses to know topics: the application creates them.
"""

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
    # Short sessions and no initial wait: a drill should see a rebalance in a second, not in a minute.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "100",
    # A broker that was killed may register again only when its old session is over (9 s by default).
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
    """Data survive a SIGKILL as far as Kafka promises it: what the page cache holds is not lost with the process."""

    def __init__(
        self,
        name: str,
        folder: Path,
        port: int,
        controller_port: int,
        properties: Mapping[str, str] | None = None,
        advertised: str | None = None,
    ) -> None:
        """`advertised`: the `host:port` told to clients, where a proxy stands before the broker."""
        super().__init__(name, folder)
        self._port = port
        self._properties = {
            **_PROPERTIES,
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{advertised or f'127.0.0.1:{port}'}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "log.dirs": str(folder / "data"),
            **(properties or {}),
        }

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def prepare(self) -> None:
        lines = [f"{key}={value}\n" for key, value in self._properties.items()]
        (self.folder / "server.properties").write_text("".join(lines))

    def command(self) -> Sequence[str]:
        """Format the storage where it is not, then become the broker: one process, known and ended as one."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        form = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config=server.properties"]
        run = ["kafka.Kafka", "server.properties"]
        # meta.properties is written last: without it an earlier format was cut short.
        script = (
            f"test -f data/meta.properties || {{ rm -rf data && {_java('-XX:TieredStopAtLevel=1', *form)}; }}"
            f" && exec {_java(*_JVM, *run)}"
        )
        return ["/bin/sh", "-c", script]

    def answers(self) -> bool:
        return answers(self.address)


def _java(*arguments: str) -> str:
    return shlex.join([java(), *_LOGGING, "-cp", f"{jars('kafka')}/*", *arguments])


def answers(address: str, timeout_s: float = 2.0) -> bool:
    """Whether the broker serves: it answers a Metadata request and counts at least one unfenced broker."""
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
    """A broker of one's own (a cluster of one) in `folder`, started; ended on leaving. 2-6 s, 330 MB."""
    port = free_port()
    broker = Kafka(folder.name, folder, port, free_port({port}), properties, advertised)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
