"""Reads the generations of consumer groups from `__consumer_offsets`.

The coordinator records every rebalance there, so none is missed, and no worker is asked. A member's process is not known: members are
counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_TOPIC: Final = "__consumer_offsets"
#: Key version of a group's metadata, as opposed to its offsets.
_GROUP_KEY: Final = 2
#: Value versions that `_members` can read; version 4 encodes lengths differently.
_KNOWN_VALUES: Final = range(2, 4)


@dataclass(frozen=True, slots=True)
class Generation:
    """The result of one rebalance."""

    group: str
    number: int
    members: frozenset[str]
    #: Unix seconds.
    at: float


@dataclass(frozen=True, slots=True)
class Stability:
    """How stable a group was."""

    rebalances: int
    #: Members that the coordinator removed although their worker was not ended.
    evicted: int
    #: Rebalances that left the members unchanged.
    without_cause: int


def stability(history: Sequence[Generation], ended: int, since: float, until: float) -> Stability:
    """Judge one group's generations (in order) between two moments in which `ended` of its workers were ended on purpose.

    Counting starts at the generation that was current at `since`. An evicted worker rejoins under a new member id, so every eviction
    shows as a member that is gone.
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
    async with TopicReader(msgspec.structs.replace(settings, partitions=await _partitions(settings))) as topics:
        async for _, record in topics.read([_TOPIC]):
            one = generation_of(record.key, record.value, record.timestamp / 1000)
            if one is not None and one.group in found:
                found[one.group].append(one)
    return {group: _changes(history) for group, history in found.items()}


async def _partitions(settings: Settings) -> int:
    admin = kafka.admin(settings.kafka_connection())
    await admin.start()
    try:
        (topic,) = await admin.describe_topics([_TOPIC])
        return len(topic["partitions"])
    finally:
        await admin.close()


def _changes(history: Sequence[Generation]) -> list[Generation]:
    """Each generation once, as first recorded: the coordinator writes some of them again."""
    first: Mapping[int, Generation] = {one.number: one for one in reversed(history)}
    return sorted(first.values(), key=lambda one: one.number)


def generation_of(key: bytes | None, value: bytes | None, at: float) -> Generation | None:
    """The generation in a record; None for a record of another kind, or the deletion of a group.

    Source: GroupMetadataKey.json and GroupMetadataValue.json of Apache Kafka.

    Raises:
        ValueError: the broker writes an unknown version.
    """
    if key is None or value is None or _Reader(key).short() != _GROUP_KEY:
        return None
    key_reader = _Reader(key)
    key_reader.short()
    group = key_reader.text() or ""
    reader = _Reader(value)
    version = reader.short()
    if version not in _KNOWN_VALUES:
        raise ValueError(
            f"group metadata has version {version}, readable are {_KNOWN_VALUES[0]} to {_KNOWN_VALUES[-1]}"
        )
    reader.text()  # protocol type
    number = reader.long()
    reader.text()  # protocol
    reader.text()  # leader
    reader.skip(8)  # time of the state change
    return Generation(group, number, frozenset(_members(reader, version)), at)


def _members(reader: _Reader, version: int) -> Iterable[str]:
    for _ in range(reader.long()):
        yield reader.text() or ""
        if version >= 3:
            reader.text()  # group instance id
        reader.text()  # client id
        reader.text()  # client host
        reader.skip(8)  # rebalance and session timeout
        reader.skip(reader.long())  # subscription
        reader.skip(reader.long())  # assignment


class _Reader:
    """Reads Kafka's encoding field by field: 16 and 32 bit numbers, strings with their length."""

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
