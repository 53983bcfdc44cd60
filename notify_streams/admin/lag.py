"""Reads the lag of a region's roles from ledgers and committed offsets."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from notify_streams.regions.consumer_groups import group_lag
from notify_streams.roles import CHANNEL_ROLES, LANES, app_id
from notify_streams.stores.mongo import LEDGER, OUTBOX, TIMERS
from notify_streams.topics import (
    PREFERENCE_UPDATES,
    RECEIPTS,
    USER_CONTACTS,
    USER_SIGNUPS,
    edge_topic,
    forward_topic,
    trigger_topics,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from notify_streams.admin.audit.snapshot import Extent
    from notify_streams.admin.audit.topics import TopicReader
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

    Place = tuple[str, int]


class LagReader:
    """Reads one region's lag by role."""

    def __init__(self, settings: Settings, topics: TopicReader, shards: Shards, admin: AIOKafkaAdminClient) -> None:
        self._settings = settings
        self._topics = topics
        self._shards = shards
        self._admin = admin

    async def lag(self) -> dict[str, int]:
        """Records that each role has not processed, outbox rows that are not published, deliveries that wait for another attempt.

        The ends of the topics are read last: what a role writes meanwhile is lag, so if all is 0 nothing was under way.

        Raises:
            StoreUnavailable, PyMongoError, KafkaError: a service does not answer.
        """
        ledgered: dict[str, Sequence[str]] = {
            **{lane: trigger_topics(self._settings) for lane in LANES},
            "registry": (USER_SIGNUPS,),
            **{role: (role,) for role in CHANNEL_ROLES},
        }
        grouped = {
            "registry": (PREFERENCE_UPDATES, USER_CONTACTS, *(edge_topic(pop.name) for pop in self._settings.edge)),
            "receipts": (RECEIPTS,),
            "forward": tuple(forward_topic(region) for region in self._settings.remote_kafka),
        }
        positions = await self._positions()
        committed = {role: await self._committed(role, topics) for role, topics in grouped.items() if topics}
        waiting = {name: await self._count(collection) for name, collection in (("outbox", OUTBOX), ("timers", TIMERS))}
        extents = await self._topics.extents({*chain(*ledgered.values(), *grouped.values())})
        lag = {
            role: sum(one.end - positions.get((role, *place), one.first) for place, one in _of(topics, extents).items())
            for role, topics in ledgered.items()
        }
        for role, topics in grouped.items():
            places = {TopicPartition(*place): one for place, one in _of(topics, extents).items()}
            first, end = ({place: getattr(one, name) for place, one in places.items()} for name in ("first", "end"))
            lag[role] = lag.get(role, 0) + (group_lag(first, end, committed[role]) if places else 0)
        return lag | waiting

    async def taken(self) -> int:
        """Triggers with an outcome since the region was created."""
        total = 0
        for shard in range(len(self._shards)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}, "role": {"$in": list(LANES)}}
            async for one in self._shards.database(shard)[LEDGER].find(query, {"taken": 1}):
                total += one["taken"]
        return total

    async def _positions(self) -> dict[tuple[str, str, int], int]:
        """Role, topic and partition → next offset."""
        found: dict[tuple[str, str, int], int] = {}
        for shard in range(len(self._shards)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}}
            fields = dict.fromkeys(("role", "topic", "partition", "next_offset"), 1)
            async for one in self._shards.database(shard)[LEDGER].find(query, fields):
                found[one["role"], one["topic"], one["partition"]] = one["next_offset"]
        return found

    async def _committed(self, role: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
        places = [TopicPartition(topic, one) for topic in topics for one in range(self._settings.partitions)]
        group = app_id(self._settings.region, role)
        found = await self._admin.list_consumer_group_offsets(group, partitions=places)
        return {place: one.offset for place, one in found.items()}

    async def _count(self, collection: str) -> int:
        total = 0
        for shard in range(len(self._shards)):
            here = {"bucket": {"$in": self._shards.buckets(shard)}}
            total += await self._shards.database(shard)[collection].count_documents(here)
        return total


def _of(topics: Collection[str], extents: Mapping[Place, Extent]) -> dict[Place, Extent]:
    return {place: one for place, one in extents.items() if place[0] in topics}
