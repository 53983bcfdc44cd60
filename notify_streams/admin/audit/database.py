"""Reads ledgers, notifications and outbox rows. Every query names its buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.errors import PyMongoError

from notify_streams.admin.audit.snapshot import DeliverySnapshot
from notify_streams.errors import StoreUnavailable
from notify_streams.records.ids import delivery_id
from notify_streams.roles import channel_topic
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, OUTBOX
from notify_streams.stores.mongo_errors import mongo_reason

if TYPE_CHECKING:
    from notify_streams.admin.audit.snapshot import RegionSnapshot
    from notify_streams.stores.mongo import Shards


async def read_database(shards: Shards, snapshot: RegionSnapshot) -> None:
    """Add what the region's shards hold to `snapshot`.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    try:
        for shard in range(len(shards)):
            await _read_shard(shards, shard, snapshot)
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB of region {snapshot.region} {mongo_reason(error)}") from error


async def _read_shard(shards: Shards, shard: int, snapshot: RegionSnapshot) -> None:
    database = shards.database(shard)
    here = {"bucket": {"$in": shards.buckets(shard)}}
    snapshot.ledgers += await database[LEDGER].find(here).to_list()
    fields = {
        "critical": 1,
        "decided_at": 1,
        **{
            f"deliveries.{channel}.{name}": 1
            for channel in ("push", "sms", "email")
            for name in ("state", "attempts", "reason")
        },
    }
    async for one in database[NOTIFICATIONS].find(here, fields, batch_size=5_000):
        snapshot.notifications += 1
        decided_at = one["decided_at"].timestamp()
        for channel, delivery in one["deliveries"].items():
            topic = channel_topic(channel, one["critical"])
            found = DeliverySnapshot(delivery["state"], delivery["attempts"], delivery.get("reason"), decided_at)
            snapshot.deliveries.setdefault(topic, {})[delivery_id(one["_id"], channel)] = found
    async for row in database[OUTBOX].find(here, {"count": 1}):
        snapshot.outbox_rows += 1
        snapshot.outbox_records += row["count"]
