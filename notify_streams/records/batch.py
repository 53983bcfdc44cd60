"""Records and batches as the transport delivers them, and records to publish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Headers = Sequence[tuple[str, bytes]]

#: A record to publish through the outbox: topic, partition, key, value, headers.
OutboxRecord = tuple[str, int, bytes | None, bytes, Headers]
#: A record to publish to a known topic and partition: key, value, headers.
KeyedRecord = tuple[bytes | None, bytes | None, Headers]


class SourceRecord(Protocol):
    """One Kafka record."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""
        ...


class Batch(Protocol):
    """Consecutive records of one partition: positions [`start`, `end`)."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def records(self) -> Sequence[SourceRecord]: ...
    @property
    def lost(self) -> int:
        """Positions that Kafka deleted before they were read."""
        ...


class AckHandle(Protocol):
    """Acknowledges or refuses one delivered batch (`transport.BatchEvent`)."""

    def ack(self) -> object:
        """Everything in the batch is durable and published: its offsets may be committed."""

    def refuse(self, position: int) -> object:
        """Read the partition again from `position`."""

    def current(self) -> bool:
        """False after the partition was revoked or sought: nothing of the batch may be flushed any more."""


class Producer(Protocol):
    """Publishes to a known partition (`transport.BatchProducer`)."""

    async def send_batch(self, topic: str, partition: int, records: Sequence[KeyedRecord]) -> object:
        """Return when all in-sync replicas have the batch."""


def record_size(record: SourceRecord) -> int:
    """Bytes of key, value and headers, where a client may put what it likes: a copy on another topic has all of them."""
    key, value, headers = record.key, record.value, record.headers
    size = (len(value) if value else 0) + (len(key) if key else 0)
    if headers:
        for name, content in headers:
            size += len(name) if name.isascii() else len(name.encode())
            size += len(content) if content else 0
    return size
