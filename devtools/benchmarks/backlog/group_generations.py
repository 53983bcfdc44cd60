"""Reads the generations of consumer groups from `__consumer_offsets`.

The coordinator records every rebalance there, so none is missed, and no worker is asked. A member's process is not known: members are
counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec
from aiokafka.protocol.types import Array, Bytes, Int16, Int32, Int64, Schema, String

from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_TOPIC: Final = "__consumer_offsets"
#: Key version of a group's metadata, as opposed to its offsets.
_GROUP_KEY: Final = 2
#: What the local stack's broker writes; version 4 encodes lengths differently.
_VALUE_VERSION: Final = 3
#: GroupMetadataKey.json and GroupMetadataValue.json of Apache Kafka.
_KEY: Final = Schema(("version", Int16), ("group", String()))
_VALUE: Final = Schema(
    ("version", Int16),
    ("protocol_type", String()),
    ("generation", Int32),
    ("protocol", String()),
    ("leader", String()),
    ("state_changed_at", Int64),
    (
        "members",
        Array(
            ("member_id", String()),
            ("group_instance_id", String()),
            ("client_id", String()),
            ("client_host", String()),
            ("rebalance_timeout", Int32),
            ("session_timeout", Int32),
            ("subscription", Bytes),
            ("assignment", Bytes),
        ),
    ),
)


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

    Raises:
        ValueError: the broker writes an unknown version.
    """
    if key is None or value is None or Int16.decode(BytesIO(key)) != _GROUP_KEY:
        return None
    if (version := Int16.decode(BytesIO(value))) != _VALUE_VERSION:
        raise ValueError(f"group metadata has version {version}, readable is {_VALUE_VERSION}")
    _, group = _KEY.decode(BytesIO(key))
    _, _, number, _, _, _, members = _VALUE.decode(BytesIO(value))
    return Generation(group, number, frozenset(member_id for member_id, *_ in members), at)
