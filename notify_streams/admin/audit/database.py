"""Reads ledgers, notifications and outbox rows. Every query names its buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.errors import PyMongoError

from notify_streams.admin.audit.snapshot import DeliverySnapshot
from notify_streams.delivery.attempts import delivery_key, fold, later, number_of
from notify_streams.errors import StoreUnavailable
from notify_streams.records.ids import delivery_id
from notify_streams.records.notification_event import event_id, event_state
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.roles import channel_topic
from notify_streams.stores.mongo import ATTEMPTS, LEDGER, NOTIFICATIONS, OUTBOX, TIMERS
from notify_streams.stores.mongo_errors import mongo_reason
from notify_streams.topics import event_topic

if TYPE_CHECKING:
    from collections.abc import Collection

    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.admin.audit.snapshot import RegionSnapshot
    from notify_streams.delivery.attempts import DeliveryStatus
    from notify_streams.stores.mongo import Document, Shards


async def read_database(shards: Shards, snapshot: RegionSnapshot, event_systems: Collection[str] = frozenset()) -> None:
    """Add what the region's shards hold to `snapshot`, each shard at one cluster time. `event_systems`: those whose ends have events.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    try:
        for shard in range(len(shards)):
            await _read_shard(shards, shard, snapshot, event_systems)
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB of region {snapshot.region} {mongo_reason(error)}") from error


async def _read_shard(shards: Shards, shard: int, snapshot: RegionSnapshot, event_systems: Collection[str]) -> None:
    here = {"bucket": {"$in": shards.buckets(shard)}}
    async with shards.client(shard).start_session(snapshot=True) as session:
        await _read_at_one_time(shards.database(shard), session, here, snapshot, event_systems)


async def _read_at_one_time(
    database: AsyncDatabase[Document],
    session: AsyncClientSession,
    here: Document,
    snapshot: RegionSnapshot,
    event_systems: Collection[str],
) -> None:
    snapshot.ledgers += await database[LEDGER].find(here, session=session).to_list()
    # A replay is counted when its first attempt begins.
    counted = here | {"$nor": [{"replay": True, "claim": None}]}
    async for timer in database[TIMERS].find(counted, {"role": 1, "bucket": 1}, session=session):
        snapshot.timers[timer["role"], timer["bucket"]] += 1
    fields = dict.fromkeys(("bucket", "system", "critical", "decided_at", "deliveries"), 1)
    ends: dict[bytes, list[tuple[int, str, int]]] = {}
    statuses: dict[bytes, DeliveryStatus] = {}
    async for attempt in database[ATTEMPTS].find(here, batch_size=5_000, session=session):
        for key, one_status in fold([attempt]).items():
            # An erasure tells no system of the person.
            if one_status.state is not DeliveryState.RETRYING and one_status.last.reason != Reason.ERASED.value:
                ends.setdefault(key, []).append(
                    (
                        number_of(attempt["_id"]),
                        event_state(one_status.state.value, one_status.last.reason),
                        one_status.last.at_ms,
                    )
                )
            statuses[key] = later(statuses[key], one_status) if key in statuses else one_status
    async for one in database[NOTIFICATIONS].find(here, fields, batch_size=5_000, session=session):
        snapshot.notifications += 1
        decided_at = one["decided_at"].timestamp()
        for channel, delivery in one["deliveries"].items():
            topic = channel_topic(channel, one["critical"])
            identity = delivery_id(one["_id"], channel)
            key = delivery_key(identity, int(decided_at * 1000))
            status = statuses.get(key)
            if one["system"] in event_systems:
                found_ends = ends.get(key, [])
                if delivery["state"] != DeliveryState.QUEUED:
                    found_ends = [(0, delivery["state"], int(decided_at * 1000))]
                for number, state, at_ms in found_ends:
                    place = event_topic(one["system"]), one["bucket"], at_ms
                    snapshot.without_event[event_id(identity, number, state)] = place
            found = (
                DeliverySnapshot(delivery["state"], 0, delivery.get("reason"), decided_at)
                if status is None
                else DeliverySnapshot(
                    status.state.value,
                    status.attempts,
                    status.last.reason,
                    decided_at,
                    status.in_doubt,
                    status.was_accepted,
                )
            )
            snapshot.deliveries.setdefault(topic, {})[identity] = found
    async for row in database[OUTBOX].find(here, {"count": 1}, session=session):
        snapshot.outbox_rows += 1
        snapshot.outbox_records += row["count"]
