"""Records as any client may write them, and a writer of any bytes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as RawBatchBuilder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from notify_streams.kafka import KafkaConnection

#: Kafka's numbers of codecs: none, gzip, snappy, lz4, zstd.
CODECS: Final = (0, 1, 2, 3, 4)
#: The broker's limit for a compressed batch. A single record may be larger before it is compressed.
_BATCH_BYTES: Final = 600 * 1024
_MAX_REQUEST_BYTES: Final = 400 * 1024 * 1024
_MAGIC: Final = 2


class RawRecord(msgspec.Struct, frozen=True):
    """A record with its place. As JSON its bytes are base64."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    #: A name may be any bytes, and a content may be missing.
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    #: One of `CODECS`.
    codec: int = 0

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name) + len(content or b"") for name, content in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class _RawName(str):
    """A header name whose bytes need not be UTF-8: the record builder asks for them by `encode`."""

    _raw: bytes

    def __new__(cls, raw: bytes) -> Self:
        made = super().__new__(cls, raw.decode(errors="replace"))
        made._raw = raw
        return made

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self._raw


class RawWriter:
    """``async with RawWriter(connection) as writer: await writer.write(records)``."""

    def __init__(self, connection: KafkaConnection) -> None:
        # Not idempotent: aiokafka numbers only batches that its own builder has made.
        self._producer = AIOKafkaProducer(
            bootstrap_servers=connection.servers, acks="all", max_request_size=_MAX_REQUEST_BYTES, **connection.security
        )

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def write(self, records: Iterable[RawRecord]) -> int:
        """Write the records, in order within a partition; returns how many the broker refused."""
        places: dict[tuple[str, int], list[RawRecord]] = {}
        for record in records:
            places.setdefault((record.topic, record.partition), []).append(record)
        return sum(await asyncio.gather(*(self._write_to(*place, found) for place, found in places.items())))

    async def _write_to(self, topic: str, partition: int, records: Sequence[RawRecord]) -> int:
        refused = 0
        for group in _groups(records):
            builder = self._producer.create_batch()
            builder._builder, builder._relative_offset = _built(group), len(group)
            try:
                await (await self._producer.send_batch(builder, topic, partition=partition))
            except KafkaError:  # too large for the topic
                refused += len(group)
        return refused


def _groups(records: Sequence[RawRecord]) -> Iterator[list[RawRecord]]:
    """Consecutive records of one codec, up to `_BATCH_BYTES` or one record."""
    group: list[RawRecord] = []
    size = 0
    for record in records:
        if group and (record.codec != group[0].codec or size + record.size > _BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append(record)
        size += record.size
    if group:
        yield group


def _built(group: Sequence[RawRecord]) -> Any:
    builder = RawBatchBuilder(_MAGIC, group[0].codec, 0, -1, -1, -1, _MAX_REQUEST_BYTES)
    now_ms = int(time.time() * 1000)
    for place, record in enumerate(group):
        headers = [(_RawName(name), content) for name, content in record.headers]
        builder.append(place, now_ms, record.key, record.value, headers)
    return builder


def save(records: Sequence[RawRecord], file: Path) -> None:
    """A line of JSON for each record, for `load`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))


def load(file: Path) -> list[RawRecord]:
    """The records that `save` wrote.

    Raises:
        msgspec.DecodeError: it did not.
    """
    return [msgspec.json.decode(line, type=RawRecord) for line in file.read_bytes().splitlines()]
