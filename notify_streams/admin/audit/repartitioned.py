"""Tells repartitioned copies from records whose client has set `source`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from zlib import crc32

from notify_streams.records.partitioner import bucket_of
from notify_streams.records.trigger import Trigger, read_trigger
from notify_streams.routing.outcome_records import record_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.admin.audit.snapshot import Extent
    from notify_streams.settings import Settings
    from notify_streams.transport import Record


class RepartitionedRecords:
    """A copy names a record that lies in a wrong partition of the same topic, and has its value. Others count as what clients wrote."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: ``topic:partition:offset`` of each trigger in a wrong partition → CRC of its value.
        self._astray: dict[str, int] = {}
        #: (``topic:partition:offset``, CRC of the value) of each record that names a source in its own topic.
        self._claims: Counter[tuple[str, int]] = Counter()

    def add(self, topic: str, partition: int, record: Record, source: str) -> None:
        """Look at a record of a trigger topic. `source`: the content of its header, or empty."""
        value = record.value or b""
        # A trigger that was forwarded twice names this topic in the middle region, and its user's bucket, which is this one.
        if source.startswith(f"{topic}:") and not source.startswith(f"{topic}:{partition}:"):
            self._claims[source, crc32(value)] += 1
        if record_size(record) <= self._settings.max_trigger_bytes:
            trigger = read_trigger(value, record.headers)
            if isinstance(trigger, Trigger) and bucket_of(trigger.user_id, self._settings.partitions) != partition:
                self._astray[f"{topic}:{partition}:{record.offset}"] = crc32(value)

    def sources(self, extents: Mapping[tuple[str, int], Extent]) -> Counter[str]:
        """How many copies each repartitioned record has. A source that Kafka has deleted since is believed.

        Args:
            extents: of the trigger topics.
        """
        found: Counter[str] = Counter()
        for (source, crc), copies in self._claims.items():
            if self._astray.get(source) == crc or _is_deleted(source, extents):
                found[source] += copies
        return found


def _is_deleted(source: str, extents: Mapping[tuple[str, int], Extent]) -> bool:
    topic, _, place = source.partition(":")
    partition, _, offset = place.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        return False
    extent = extents.get((topic, int(partition)))
    return extent is not None and int(offset) < extent.first
