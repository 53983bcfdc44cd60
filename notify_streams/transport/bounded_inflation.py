"""Bounds what a compressed Kafka batch inflates to, and a record's headers.

A broker checks the compressed size only, and 9 KB of zstd can become 300 MB: no worker would survive the record, however often it is
started again. Nor does a broker count headers, each of which takes 2 bytes of a batch at least and some 100 of a worker's memory.
Written for aiokafka 0.14.0: importing this module replaces its decoders.
"""

from __future__ import annotations

import struct
import sys
import threading
import zlib
from collections.abc import Callable
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import cramjam
from aiokafka.codec import snappy_decode
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordPy
from aiokafka.record.util import decode_varint

#: Of one batch, and of what is read at once. Producers send batches of a megabyte, and a worker may have 256 MB of memory.
MAX_INFLATED_BYTES = 32 * 1024 * 1024
#: Likewise: many empty records take far more memory than their bytes.
MAX_RECORDS = 200_000
#: Of one record; a record with more is not read.
MAX_HEADERS = 1_000
#: Of one batch.
_MAX_BATCH_HEADERS = 400_000
#: What a header takes of memory beside its name and content.
HEADER_BYTES = 64
#: A batch of this size cannot have too many headers for a worker, so they are not counted.
_SMALL_BYTES = 1_100_000
#: Most batches fit into a buffer of this size, which is used again.
_USUAL_BYTES = 2 * 1024 * 1024
#: Positions of a batch that is not read: so many become records, the others count as positions without a record.
_MAX_UNREAD = 10_000
#: Stands for a record that is not read; no topic accepts it.
UNREAD = b"not read: its Kafka batch inflates to more than a worker can hold, or it has more than 1,000 headers"
#: zlib's number for the format of gzip.
_GZIP = 31

_HEADERS, _NAME, _CONTENT = attrgetter("headers"), itemgetter(0), itemgetter(1)
_buffers = threading.local()


class InflatesTooFar(Exception):
    """A batch inflates to more than `MAX_INFLATED_BYTES` or has too many headers, or cannot be inflated."""


def unread_records(batch: Any) -> list[Any]:
    """What replaces the records of a batch that is not read: at its positions, with the value `UNREAD`."""
    end = min(batch.next_offset, batch.base_offset + _MAX_UNREAD)
    return [
        _DefaultRecordPy(offset, batch.max_timestamp, batch.timestamp_type, None, UNREAD, [])
        for offset in range(batch.base_offset, end)
    ]


def without_many_headers(records: list[Any]) -> tuple[list[Any], int]:
    """The records with `UNREAD` in place of those with more than `MAX_HEADERS`; and the bytes of memory that all their headers take."""
    counts = list(map(len, map(_HEADERS, records)))
    if max(counts, default=0) > MAX_HEADERS:
        records = [
            record
            if count <= MAX_HEADERS
            else _DefaultRecordPy(record.offset, record.timestamp, record.timestamp_type, None, UNREAD, [])
            for record, count in zip(records, counts, strict=True)
        ]
    headers = list(chain.from_iterable(map(_HEADERS, records)))
    texts = sum(map(len, map(_NAME, headers))) + sum(map(len, filter(None, map(_CONTENT, headers))))
    return records, HEADER_BYTES * len(headers) + texts


def _with_few_headers(decode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    def checked(payload: Any) -> bytes:
        inflated = decode(payload)
        if len(inflated) > _SMALL_BYTES:
            _check_headers(inflated)
        return inflated

    return checked


def _check_headers(records: bytes) -> None:
    """Count the headers without making them objects. What is not well-formed is left to aiokafka's parser.

    Raises:
        InflatesTooFar: there are more than `_MAX_BATCH_HEADERS`.
    """
    at = headers = 0
    try:
        while at < len(records):
            # https://kafka.apache.org/documentation/#record
            length, at = decode_varint(records, at)
            end = at + length
            _, at = decode_varint(records, at + 1)
            _, at = decode_varint(records, at)
            for _ in ("key", "value"):
                size, at = decode_varint(records, at)
                at += max(size, 0)
            count, _ = decode_varint(records, at)
            headers += count
            if headers > _MAX_BATCH_HEADERS:
                raise InflatesTooFar(f"more than {_MAX_BATCH_HEADERS} headers")
            if end <= at:
                return
            at = end
    except (IndexError, ValueError):
        return


def _gzip(payload: Any) -> bytes:
    left, parts, size = bytes(payload), [], 0
    while left:  # a stream may have several members
        inflate = zlib.decompressobj(_GZIP)
        try:
            parts.append(inflate.decompress(left, MAX_INFLATED_BYTES - size + 1))
        except zlib.error as error:
            raise InflatesTooFar(str(error)) from error
        size += len(parts[-1])
        if size > MAX_INFLATED_BYTES or not inflate.eof:
            raise InflatesTooFar(f"more than {MAX_INFLATED_BYTES} bytes, or cut off")
        left = inflate.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _into_buffer(decompress_into: Callable[[Any, Any], int]) -> Callable[[Any], bytes]:
    """A decoder that writes no further than the end of a buffer, of the usual size or else of the largest."""

    def decode(payload: Any) -> bytes:
        usual = getattr(_buffers, "usual", None)
        if usual is None:
            usual = _buffers.usual = bytearray(_USUAL_BYTES)
        try:
            return bytes(memoryview(usual)[: decompress_into(payload, usual)])
        except cramjam.DecompressionError:
            largest = bytearray(MAX_INFLATED_BYTES)
        try:
            return bytes(memoryview(largest)[: decompress_into(payload, largest)])
        except cramjam.DecompressionError as error:
            raise InflatesTooFar(str(error)) from error

    return decode


def _snappy(payload: Any) -> bytes:
    try:
        inflated = bytes(snappy_decode(payload))  # at most 21 times the payload
    except (cramjam.DecompressionError, struct.error) as error:
        raise InflatesTooFar(str(error)) from error
    if len(inflated) > MAX_INFLATED_BYTES:
        raise InflatesTooFar(f"{len(inflated)} bytes")
    return inflated


_DECODERS: dict[str, Callable[[Any], bytes]] = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _into_buffer(cramjam.lz4.decompress_into),
    "zstd_decode": _into_buffer(cramjam.zstd.decompress_into),
}
#: Those of the batches in Python, and in C.
for module in {_DefaultRecordPy.__module__, DefaultRecordBatch.__module__}:
    for name, decoder in _DECODERS.items():
        setattr(sys.modules[module], name, _with_few_headers(decoder))
