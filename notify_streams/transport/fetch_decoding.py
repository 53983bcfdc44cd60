"""Decodes what aiokafka has fetched for a partition into a `FetchedRange`.

Uses aiokafka's C parser, one call a Kafka batch. aiokafka's own `getmany` wraps every record twice in Python, which is most of its cost.
Written against aiokafka 0.14.0: it reads that version's private fields.
"""

from __future__ import annotations

import asyncio
import logging
from operator import attrgetter
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException, KafkaError

from notify_streams.transport.bounded_inflation import (
    MAX_INFLATED_BYTES,
    MAX_RECORDS,
    InflatesTooFar,
    unread_records,
    without_many_headers,
)
from notify_streams.transport.header_decoding import decode_leniently
from notify_streams.transport.partition_buffer import FetchedRange

log = logging.getLogger(__name__)

READ_COMMITTED = 1
_KEY, _VALUE = attrgetter("key"), attrgetter("value")


def decode_fetched(fetched: Any, position: int) -> FetchedRange:
    """Everything that one fetch returned for a partition.

    Without control batches, without aborted transactions under `read_committed`, and without records below `position`
    (the broker returns whole Kafka batches). The records of a batch that inflates too far are replaced, and what follows
    after a lot of inflated bytes is left for the next fetch (`bounded_inflation`).

    Args:
        fetched: aiokafka's `PartitionRecords`, not iterated before.
        position: the position that was fetched from.

    Raises:
        CorruptRecordException: a checksum does not match; nothing of the fetch is returned.
    """
    records: list[Any] = []
    end = position
    size = 0
    source = fetched._records
    # Without compression, the fetched bytes and the headers are a good estimate of the records' size; with it, keys and values are counted.
    whole, uncompressed = source.size_in_bytes(), True
    committed_only = fetched._isolation_level == READ_COMMITTED
    while source.has_next():
        batch = source.next_batch()
        if fetched._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {fetched._tp}")
        if committed_only and batch.producer_id is not None and _is_aborted(fetched, batch):
            end = max(end, batch.next_offset)
            continue
        if not batch.is_control_batch:
            try:
                found = list(batch) if batch.next_offset - batch.base_offset <= MAX_RECORDS else None
            except UnicodeDecodeError:
                found = decode_leniently(source.fetched, batch.base_offset)
            except InflatesTooFar:
                found = None
            if found is None:
                found = unread_records(batch)
                # Its dead letters are what an operator sees; commands that read topics say nothing.
                log.info(
                    "batch not read, it inflates to more than a worker can hold",
                    extra={"action": "batch.unread", "partition": str(fetched._tp), "offset": batch.base_offset},
                )
            if found and found[0].offset < position:
                found = [record for record in found if record.offset >= position]
            found, header_bytes = without_many_headers(found)
            records += found
            size += header_bytes
            if batch.compression_type:
                size += sum(map(len, filter(None, map(_VALUE, found)))) + sum(map(len, filter(None, map(_KEY, found))))
                uncompressed = False
        end = max(end, batch.next_offset)
        if not uncompressed and (size > MAX_INFLATED_BYTES or len(records) > MAX_RECORDS):
            break
    return FetchedRange(position, end, records, whole + size if uncompressed else size)


def pop_fetched_range(fetcher: Any, tp: TopicPartition, result: Any) -> FetchedRange | None:
    """Remove a fetch from aiokafka's fetcher, advance the partition's position, and let the fetcher continue.

    Returns:
        None if the partition was sought, paused or reassigned after the fetch.

    Raises:
        CorruptRecordException: see `decode_fetched`. The position stays, so the fetcher reads the same again.
    """
    del fetcher._records[tp]
    fetched = None
    try:
        if result.check_assignment(tp) and result.has_more():
            state = result._assignment.state_value(tp)
            fetched = decode_fetched(result._partition_records, state.position)
            state.consumed_to(fetched.end)
    finally:
        fetcher._notify(fetcher._wait_consume_future)
    return fetched if fetched is not None and fetched.end > fetched.start else None


async def fetch_ranges(consumer: Any, timeout_s: float) -> list[tuple[TopicPartition, FetchedRange]]:
    """What a started aiokafka consumer has fetched, after waiting up to `timeout_s` for the first of it.

    Raises:
        KafkaError: a fetch failed, or the client has stopped fetching.
    """
    fetcher = consumer._fetcher
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        found: list[tuple[TopicPartition, FetchedRange]] = []
        for tp in list(fetcher._records):
            result = fetcher._records[tp]
            if type(result) is not FetchResult:
                del fetcher._records[tp]
                fetcher._notify(fetcher._wait_consume_future)
                result.check_raise()
            fetched = pop_fetched_range(fetcher, tp, result)
            if fetched is not None:
                found.append((tp, fetched))
        remaining = deadline - asyncio.get_running_loop().time()
        if found or remaining <= 0:
            return found
        waiter = fetcher._create_fetch_waiter()
        await asyncio.wait([waiter, fetcher.error_future], timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
        if not waiter.done():
            waiter.cancel()
        if fetcher.error_future.done():
            raise KafkaError("the client has stopped fetching: replace it")


def _is_aborted(fetched: Any, batch: Any) -> bool:
    fetched._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch:
        if fetched._contains_abort_marker(batch):
            fetched._aborted_producers.discard(batch.producer_id)
        return False
    return bool(batch.is_transactional and batch.producer_id in fetched._aborted_producers)
