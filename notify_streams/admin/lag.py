"""Reads the lag of a region's roles from ledgers and committed offsets."""

from __future__ import annotations

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
    from collections.abc import Iterable

    from notify_streams.admin.audit.topics import TopicReader
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards


class LagReader:
    """Reads one region's lag by role."""

    def __init__(self, settings: Settings, topics: TopicReader, shards: Shards, admin: AIOKafkaAdminClient) -> None:
        self._settings = settings
        self._topics = topics
        self._shards = shards
        self._admin = admin

    async def lag(self) -> dict[str, int]:
        """Records that each role has not processed, outbox rows that are not published, deliveries that wait for another attempt."""
        lag: dict[str, int] = {lane: await self._ledger_lag(lane, trigger_topics(self._settings)) for lane in LANES}
        lag["registry"] = await self._ledger_lag("registry", (USER_SIGNUPS,))
        lag |= {role: await self._ledger_lag(role, (role,)) for role in CHANNEL_ROLES}
        for role, topics in (
            ("registry", (PREFERENCE_UPDATES, USER_CONTACTS, *(edge_topic(pop.name) for pop in self._settings.edge))),
            ("receipts", (RECEIPTS,)),
            ("forward", tuple(forward_topic(region) for region in self._settings.remote_kafka)),
        ):
            lag[role] = lag.get(role, 0) + await self._group_lag(role, topics)
        for name, collection in (("outbox", OUTBOX), ("timers", TIMERS)):
            lag[name] = 0
            for shard in range(len(self._shards)):
                buckets = {"bucket": {"$in": self._shards.buckets(shard)}}
                lag[name] += await self._shards.database(shard)[collection].count_documents(buckets)
        return lag

    async def taken(self) -> int:
        """Triggers with an outcome since the region was created."""
        total = 0
        for shard in range(len(self._shards)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}, "role": {"$in": list(LANES)}}
            async for one in self._shards.database(shard)[LEDGER].find(query, {"taken": 1}):
                total += one["taken"]
        return total

    async def _ledger_lag(self, role: str, topics: Iterable[str]) -> int:
        extents = await self._topics.extents(topics)
        positions: dict[tuple[str, int], int] = {}
        for shard in range(len(self._shards)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}, "role": role}
            async for one in self._shards.database(shard)[LEDGER].find(query):
                positions[one["topic"], one["partition"]] = one["next_offset"]
        return sum(extent.end - positions.get(place, extent.first) for place, extent in extents.items())

    async def _group_lag(self, role: str, topics: Iterable[str]) -> int:
        extents = {TopicPartition(*place): one for place, one in (await self._topics.extents(topics)).items()}
        if not extents:
            return 0
        committed = await self._admin.list_consumer_group_offsets(
            app_id(self._settings.region, role), partitions=list(extents)
        )
        return group_lag(
            {place: one.first for place, one in extents.items()},
            {place: one.end for place, one in extents.items()},
            {place: found.offset for place, found in committed.items()},
        )
