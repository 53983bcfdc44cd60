"""Tells copies, repartitioned or released, from records whose client says so."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from zlib import crc32

from notify_streams.admin.audit.parts import SourceRow
from notify_streams.records.batch import record_size
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.trigger import Trigger, read_trigger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from notify_streams.admin.audit.snapshot import Extent
    from notify_streams.settings import Settings
    from notify_streams.transport import Record


def rows_of(settings: Settings, topic: str, partition: int, record: Record, source: str) -> Iterator[SourceRow]:
    """A record of a trigger topic as a copy, and as one that lies in a wrong partition. `source`: the content of its header, or empty.

    A copy names a record that lies in a wrong partition of the same topic, and has its value. Others count as what clients wrote.
    """
    value = record.value or b""
    # A trigger that was forwarded twice names this topic in the middle region, and its user's bucket, which is this one.
    if source.startswith(f"{topic}:") and not source.startswith(f"{topic}:{partition}:"):
        yield SourceRow("claim", source, crc32(value))
    if record_size(record) <= settings.max_trigger_bytes:
        trigger = read_trigger(value, record.headers)
        if isinstance(trigger, Trigger) and bucket_of(trigger.user_id, settings.partitions) != partition:
            yield SourceRow("astray", f"{topic}:{partition}:{record.offset}", crc32(value))


def is_released(topic: str, partition: int, source: str, waited: str, former: Collection[int]) -> bool:
    """Whether a record of a trigger topic was published again after it had waited for its user.

    Then both headers name the record that waited, in the same topic and partition. A trigger that waited in another region before it was
    forwarded keeps the header `waited`, and a client may write it.

    Args:
        source, waited: the content of the headers, or empty.
        former: the partitions that the people of this one were in before the region grew.
    """
    return waited == source and any(waited.startswith(f"{topic}:{one}:") for one in (partition, *former))


def copies(
    claims: Mapping[tuple[str, int], int], astray: Mapping[str, int], extents: Mapping[tuple[str, int], Extent]
) -> Counter[str]:
    """How many copies each repartitioned record has. A source that Kafka has deleted since is believed.

    Args:
        claims: (source, CRC of the value) → how many records name it.
        astray: ``topic:partition:offset`` of each trigger in a wrong partition → CRC of its value.
        extents: of the trigger topics.
    """
    found: Counter[str] = Counter()
    for (source, crc), count in claims.items():
        if astray.get(source) == crc or _is_deleted(source, extents):
            found[source] += count
    return found


def _is_deleted(source: str, extents: Mapping[tuple[str, int], Extent]) -> bool:
    topic, _, place = source.partition(":")
    partition, _, offset = place.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        return False
    extent = extents.get((topic, int(partition)))
    return extent is not None and int(offset) < extent.first
