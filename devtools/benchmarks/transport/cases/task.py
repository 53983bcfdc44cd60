"""The task of a case's process and its result, both as one line of JSON."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection
from notify_streams.transport import TransportSettings, attach


@dataclass(frozen=True, slots=True)
class Task:
    """One run of one case."""

    case: str
    bootstrap: str
    group: str
    source: str
    #: Records to process.
    records: int
    target: str = ""
    table_name: str = ""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """`value`: the figure, if it is not records a second."""

    records: int
    seconds: float
    value: float | None = None

    def line(self) -> str:
        return json.dumps(asdict(self))


def an_app(task: Task, scheme: str, **options: Any) -> faust.App:
    """A Faust app, stock (`kafka`) or on the batched transport (`batched`), with an uncompressed producer."""
    app = faust.App(
        task.group,
        broker=f"{scheme}://{task.bootstrap}",
        datadir=tempfile.mkdtemp(prefix="bench-"),
        web_enabled=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        **options,
    )
    attach(app, TransportSettings(compression=None))
    return app


def plain_consumer(task: Task, **options: Any) -> AIOKafkaConsumer[bytes, bytes]:
    """A bare consumer of the source, with the transport's fetch sizes; not started."""
    consumer = kafka.consumer(
        KafkaConnection(task.bootstrap),
        group=task.group,
        max_partition_fetch_bytes=1024 * 1024,
        fetch_max_bytes=16 * 1024 * 1024,
        **options,
    )
    consumer.subscribe([task.source])
    return consumer
