"""Reads a region's shards for the audit. Every query names its buckets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from pymongo.errors import PyMongoError

from notify_streams.admin.audit.parts import AttemptRow, DeliveryRow
from notify_streams.delivery.attempts import delivery_key
from notify_streams.errors import StoreUnavailable
from notify_streams.records.ids import delivery_id
from notify_streams.records.periods import PERIOD_END
from notify_streams.roles import channel_topic
from notify_streams.stores.mongo import ATTEMPTS, LEDGER, NOTIFICATIONS, OUTBOX, TIMERS
from notify_streams.stores.mongo_errors import mongo_reason
from notify_streams.stores.notification_expiry import all_since, time_to_live_s
from notify_streams.stores.shard_clocks import shard_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.admin.audit.parts import Parts
    from notify_streams.admin.audit.snapshot import RegionSnapshot
    from notify_streams.stores.mongo import Document, Shards

_AT_ONCE: Final = 5_000


@asynccontextmanager
async def unmoved_buckets(shards: Shards) -> AsyncIterator[None]:
    """What the block reads of each shard is all of its buckets: the bucket directory is read before and after.

    A bucket that moves meanwhile from a shard that is read late to one that was read early would be missing.

    Raises:
        StoreUnavailable: a bucket was moved, or a shard does not answer.
        Refused: see `Shards.refresh_directory`.
    """
    await shards.refresh_directory(require_all=True)
    placed = {bucket: shards.of(bucket) for bucket in shards.all_buckets()}
    yield
    await shards.refresh_directory(require_all=True)
    for bucket, shard in placed.items():
        if (now := shards.of(bucket)) != shard:
            raise StoreUnavailable(
                f"bucket {bucket} was moved from shard {shard} to {now} while the audit read them: run it again"
            )


async def count_rows(shards: Shards) -> int:
    """About how many notifications and attempts the region has.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    try:
        return sum(
            [
                await shards.database(shard)[name].estimated_document_count()
                for shard in range(len(shards))
                for name in (NOTIFICATIONS, ATTEMPTS)
            ]
        )
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB {mongo_reason(error)}") from error


async def read_database(
    shards: Shards, snapshot: RegionSnapshot, parts: Parts, event_systems: Collection[str] = frozenset()
) -> None:
    """Add what the region's shards hold to `snapshot` and `parts`, each shard at one cluster time.

    `event_systems`: those whose ends have events.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    try:
        for shard in range(len(shards)):
            await _read_expiry(shards.database(shard), snapshot)
        for shard in range(len(shards)):
            await _read_shard(shards, shard, snapshot, parts, event_systems)
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB of region {snapshot.region} {mongo_reason(error)}") from error


async def _read_expiry(database: AsyncDatabase[Document], snapshot: RegionSnapshot) -> None:
    """Of all shards before the first one is read: a bucket may have been on another one when something of it was deleted."""
    snapshot.notifications_kept_s = min(snapshot.notifications_kept_s, await time_to_live_s(database))
    snapshot.notifications_since = max(snapshot.notifications_since, await all_since(database))


async def _read_shard(
    shards: Shards, shard: int, snapshot: RegionSnapshot, parts: Parts, event_systems: Collection[str]
) -> None:
    buckets = shards.buckets(shard)
    here = {"bucket": {"$in": buckets}}
    async with shards.client(shard).start_session(snapshot=True) as session:
        snapshot.ledgers += await shards.database(shard)[LEDGER].find(here, session=session).to_list()
        snapshot.read_at |= dict.fromkeys(buckets, (await shard_time(shards, shard)).timestamp())
        await _read_at_one_time(shards.database(shard), session, here, snapshot, parts, event_systems)


async def _read_at_one_time(
    database: AsyncDatabase[Document],
    session: AsyncClientSession,
    here: Document,
    snapshot: RegionSnapshot,
    parts: Parts,
    event_systems: Collection[str],
) -> None:
    # A replay is counted when its first attempt begins.
    counted = here | {"$nor": [{"replay": True, "claim": None}]}
    async for timer in database[TIMERS].find(counted, {"role": 1, "bucket": 1}, session=session):
        snapshot.timers[timer["role"], timer["bucket"]] += 1
    fields = dict.fromkeys(("bucket", "system", "critical", "decided_at", "deliveries", PERIOD_END), 1)
    kept_since = {bucket: snapshot.kept_since(bucket) for bucket in snapshot.read_at}
    attempts = database[ATTEMPTS].find(here, {"p": 1}, batch_size=_AT_ONCE, session=session)
    async for attempt in attempts:
        parts.add(AttemptRow(attempt["_id"], attempt["p"]))
    async for one in database[NOTIFICATIONS].find(here, fields, batch_size=_AT_ONCE, session=session):
        decided_at, bucket = one["decided_at"].timestamp(), one["bucket"]
        # Others of the same period may have been deleted, and what an earlier release stored names no period.
        if PERIOD_END not in one or one[PERIOD_END].timestamp() <= kept_since[bucket]:
            continue
        snapshot.notifications += 1
        events_of = one["system"] if one["system"] in event_systems else ""
        for channel, delivery in one["deliveries"].items():
            identity = delivery_id(one["_id"], channel)
            key = delivery_key(identity, decided_at)
            topic = channel_topic(channel, one["critical"])
            state, reason = delivery["state"], delivery.get("reason")
            parts.add(DeliveryRow(key, identity, topic, state, reason, decided_at, bucket, events_of))
    async for row in database[OUTBOX].find(here, {"count": 1}, session=session):
        snapshot.outbox_rows += 1
        snapshot.outbox_records += row["count"]
