"""From aiokafka's fetched bytes to a `FetchedRange`, one C loop a Kafka batch.

In: the partition records that aiokafka's fetcher holds. Out: the records as aiokafka's C parser makes them, and the
positions before and after. aiokafka's own path wraps every record twice in Python, which costs most of its time.
Written against aiokafka 0.14.0: it reads that version's private fields.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException, KafkaError

from notify_streams.transport.header_decoding import decode_leniently
from notify_streams.transport.partition_buffer import FetchedRange

READ_COMMITTED = 1
KEY, VALUE = attrgetter("key"), attrgetter("value")


def decode_fetched(fetched: Any, position: int) -> FetchedRange:
    """Everything that one fetch brought for a partition.

    Leaves out aborted transactions under `read_committed`, control batches always, and records below `position`
    (the broker answers with whole Kafka batches).

    Args:
        fetched: aiokafka's `PartitionRecords`, not iterated before.
        position: where the fetch began.

    Raises:
        CorruptRecordException: a checksum does not match; nothing of the fetch was delivered.
    """
    records: list[Any] = []
    end = position
    size = 0
    source = fetched._records
    # Without compression the fetched bytes are the records, and a little more; otherwise they must be counted.
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
                found = list(batch)
            except UnicodeDecodeError:
                found = decode_leniently(source.fetched, batch.base_offset)
            if found and found[0].offset < position:
                found = [record for record in found if record.offset >= position]
            records += found
            if batch.compression_type:
                size += sum(map(len, filter(None, map(VALUE, found)))) + sum(map(len, filter(None, map(KEY, found))))
                uncompressed = False
        end = max(end, batch.next_offset)
    return FetchedRange(position, end, records, whole if uncompressed else size)


def pop_fetched_range(fetcher: Any, tp: TopicPartition, result: Any) -> FetchedRange | None:
    """Take what aiokafka's fetcher holds for a partition, move its position, and let it fetch on.

    Returns:
        None if the fetch was overtaken by a seek, a pause or a new assignment.
    """
    del fetcher._records[tp]
    fetched = None
    if result.check_assignment(tp) and result.has_more():
        state = result._assignment.state_value(tp)
        fetched = decode_fetched(result._partition_records, state.position)
        state.consumed_to(fetched.end)
    fetcher._notify(fetcher._wait_consume_future)
    return fetched if fetched is not None and fetched.end > fetched.start else None


async def fetch_ranges(consumer: Any, timeout_s: float) -> list[tuple[TopicPartition, FetchedRange]]:
    """What an aiokafka consumer of its own has fetched for its partitions, waiting for the first.

    Raises:
        KafkaError: a fetch failed, or the client has given up fetching.
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
            raise KafkaError("the client fetches no more")


def _is_aborted(fetched: Any, batch: Any) -> bool:
    fetched._consume_aborted_up_to(batch.base_offset)
    if batch.is_control_batch:
        if fetched._contains_abort_marker(batch):
            fetched._aborted_producers.discard(batch.producer_id)
        return False
    return bool(batch.is_transactional and batch.producer_id in fetched._aborted_producers)
