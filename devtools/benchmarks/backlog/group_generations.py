"""Consumer groups as their coordinator recorded them: every generation with its members, read from `__consumer_offsets`.

Nothing between two looks can be missed, and no worker is asked. Refuses to know which process a member is: members are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from notify_streams import kafka

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_TOPIC: Final = "__consumer_offsets"
#: Version of a key that names a group, not one of its offsets.
_GROUP_KEY: Final = 2
#: Versions of the value whose fields begin as `_members` reads them; from 4 on lengths are written otherwise.
_KNOWN_VALUES: Final = range(2, 4)
_READ_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Generation:
    """One rebalance's result."""

    group: str
    number: int
    members: frozenset[str]
    #: Unix seconds.
    at: float


@dataclass(frozen=True, slots=True)
class Stability:
    """What a group went through."""

    rebalances: int
    #: Members that the coordinator put out and nobody had ended.
    evicted: int
    #: Rebalances after which the members were the same.
    without_cause: int


def stability(history: Sequence[Generation], ended: int, since: float, until: float) -> Stability:
    """Judge one group's generations (in order) between two moments in which `ended` of its workers were ended on purpose.

    The generation that stood at `since` is where the counting begins. A worker that is put out comes back under a new name, so every
    eviction shows as a member that is gone.
    """
    before = [one for one in history if one.at <= since][-1:]
    counted = before + [one for one in history if since < one.at <= until]
    pairs = list(pairwise(counted))
    gone = sum(len(one.members - after.members) for one, after in pairs)
    same = sum(one.members == after.members for one, after in pairs)
    return Stability(len(pairs), max(0, gone - ended), same)


async def read_generations(settings: Settings, groups: Iterable[str]) -> dict[str, list[Generation]]:
    """Every recorded generation of these groups, in order."""
    found: dict[str, list[Generation]] = {group: [] for group in groups}
    consumer = kafka.consumer(settings.kafka_connection())
    await consumer.start()
    try:
        places = await _places(settings)
        ends = {place: end for place, end in (await consumer.end_offsets(places)).items() if end}
        consumer.assign(list(ends))
        await consumer.seek_to_beginning()
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=_READ_MS)).values():
                for record in records:
                    one = generation_of(record.key, record.value, record.timestamp / 1000)
                    if one is not None and one.group in found:
                        found[one.group].append(one)
    finally:
        await consumer.stop()
    return {group: _changes(history) for group, history in found.items()}


async def _places(settings: Settings) -> list[TopicPartition]:
    admin = kafka.admin(settings.kafka_connection())
    await admin.start()
    try:
        (topic,) = await admin.describe_topics([_TOPIC])
        return [TopicPartition(_TOPIC, one["partition"]) for one in topic["partitions"]]
    finally:
        await admin.close()


def _changes(history: Sequence[Generation]) -> list[Generation]:
    """Each generation once, as it was recorded first: the coordinator writes some again."""
    first: Mapping[int, Generation] = {one.number: one for one in reversed(history)}
    return sorted(first.values(), key=lambda one: one.number)


def generation_of(key: bytes | None, value: bytes | None, at: float) -> Generation | None:
    """What a record says of a group; None if it says something else, or that the group is no more.

    Source: GroupMetadataKey.json and GroupMetadataValue.json of Apache Kafka.

    Raises:
        ValueError: the broker writes a version that is not known here.
    """
    if key is None or value is None or _Reader(key).short() != _GROUP_KEY:
        return None
    named = _Reader(key)
    named.short()
    group = named.text() or ""
    reader = _Reader(value)
    version = reader.short()
    if version not in _KNOWN_VALUES:
        raise ValueError(f"version {version} of a group's record is not known")
    reader.text()  # type of the protocol
    number = reader.long()
    reader.text()  # protocol
    reader.text()  # leader
    reader.skip(8)  # when its state changed
    return Generation(group, number, frozenset(_members(reader, version)), at)


def _members(reader: _Reader, version: int) -> Iterable[str]:
    for _ in range(reader.long()):
        yield reader.text() or ""
        if version >= 3:
            reader.text()  # static membership's id
        reader.text()  # client id
        reader.text()  # client host
        reader.skip(8)  # both timeouts
        reader.skip(reader.long())  # subscription
        reader.skip(reader.long())  # assignment


class _Reader:
    """Kafka's own encoding, field after field: 16 and 32 bits, texts with their length before them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def short(self) -> int:
        return int(self._number(">h"))

    def long(self) -> int:
        return int(self._number(">i"))

    def text(self) -> str | None:
        size = self.short()
        if size < 0:
            return None
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def skip(self, size: int) -> None:
        self._at += max(size, 0)

    def _number(self, form: str) -> int:
        (found,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(found)
