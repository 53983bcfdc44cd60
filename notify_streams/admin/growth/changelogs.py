"""Moves rows of compacted topics to the partitions of the new buckets.

Those that have no record in the region's database; the others are rebuilt.

One partition after the other: the records of users who leave it are written to their new partition, then they get a tombstone in the old one.
A table and an agent take a tombstone, and what lies in a foreign partition, for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.failpoints import failpoint
from notify_streams.topics import USER_LOCATIONS, edge_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from notify_streams.admin.audit.topics import TopicReader
    from notify_streams.admin.growth.documents import BucketSplit
    from notify_streams.records.batch import KeyedRecord, Producer
    from notify_streams.settings import Settings

#: Users whose records are written at once.
_AT_ONCE: Final = 1_000


def moved_topics(settings: Settings) -> tuple[str, ...]:
    """The topics of locations."""
    return USER_LOCATIONS, *(edge_topic(pop.name) for pop in settings.edge)


async def move_rows(
    topics: TopicReader, producer: Producer, topic: str, split: BucketSplit, on_progress: Callable[[int], None]
) -> int:
    """Move the rows of one topic; returns how many users have others now. May be repeated: who has a tombstone has left.

    Raises:
        StoreUnavailable, SendError: Kafka does not answer.
    """
    moved = 0
    for partition in range(split.before):
        leaving = await _leaving(topics, topic, partition, split)
        keys = [*leaving]
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            targets: dict[int, list[KeyedRecord]] = {}
            for key in some:
                new, values = leaving[key]
                targets.setdefault(new, []).extend((key, value, ()) for value in values)
            for new, records in targets.items():
                await producer.send_batch(topic, new, records)
            failpoint("inside_growth_rows")
            await producer.send_batch(topic, partition, [(key, None, ()) for key in some])
            on_progress(len(some))
        moved += len(keys)
    return moved


async def _leaving(
    topics: TopicReader, topic: str, partition: int, split: BucketSplit
) -> Mapping[bytes, tuple[int, Sequence[bytes]]]:
    """Key → new partition and values since the last tombstone: the newest version need not be the last one."""
    found: dict[bytes, tuple[int, list[bytes]]] = {}
    async for _, record in topics.read([topic], [partition]):
        key = record.key
        if key is None:
            continue
        if record.value is None:
            found.pop(key, None)
        elif key in found:
            found[key][1].append(record.value)
        elif (new := _new_partition(key, partition, split)) is not None:
            found[key] = new, [record.value]
    return found


def _new_partition(key: bytes, partition: int, split: BucketSplit) -> int | None:
    try:
        return split.new_bucket(key.decode(), partition)
    except UnicodeDecodeError:
        return None
