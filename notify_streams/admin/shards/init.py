"""Creates collections and indexes; behind a mongos, also a chunk per bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pymongo
from bson import MinKey
from pymongo.errors import PyMongoError

from notify_streams.delivery.provider_ids import PROVIDER_KEY
from notify_streams.errors import Refused, StoreUnavailable
from notify_streams.records.periods import PERIOD_END
from notify_streams.records.person_slots import KEPT_FROM
from notify_streams.stores.mongo import (
    ATTEMPTS,
    CONSENTS,
    CONTACTS,
    ERASURES,
    LEDGER,
    NOTIFICATIONS,
    OUTBOX,
    OUTCOMES,
    PREFERENCES,
    SEALED_SUMS,
    TIMERS,
    refuse_earlier_region,
)
from notify_streams.stores.mongo_errors import mongo_reason
from notify_streams.stores.notification_expiry import expiry_becomes_longer
from notify_streams.stores.partition_count import write_first_count
from notify_streams.stores.shard_clocks import shard_time

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo import AsyncMongoClient
    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

COLLECTIONS: Final = (
    NOTIFICATIONS,
    OUTBOX,
    LEDGER,
    PREFERENCES,
    CONTACTS,
    TIMERS,
    ATTEMPTS,
    CONSENTS,
    ERASURES,
    SEALED_SUMS,
    OUTCOMES,
)
#: Behind a mongos: every command names its bucket, so it goes to one shard.
SHARD_KEY: Final = {"bucket": pymongo.ASCENDING, "_id": pymongo.ASCENDING}


@dataclass(frozen=True, slots=True)
class Index:
    """An index besides the one on `_id`."""

    keys: tuple[tuple[str, int], ...]
    #: Rows are deleted this long after the date in the field; None: never.
    expire_after_s: int | None = None
    #: Documents without the field are left out.
    sparse: bool = False


_INDEXES: Final[dict[str, tuple[Index, ...]]] = {
    NOTIFICATIONS: (),
    OUTBOX: (),
    LEDGER: (),
    PREFERENCES: (Index((("changed", 1),)),),
    CONTACTS: (),
    TIMERS: (Index((("bucket", 1), ("due_at", 1))),),
    ATTEMPTS: (Index(((PROVIDER_KEY, 1),), sparse=True),),
    CONSENTS: (),
    SEALED_SUMS: (Index(((PERIOD_END, 1),)),),
    ERASURES: (Index((("bucket", 1), ("due_at", 1))),),
    OUTCOMES: (Index((("user_id", 1),)),),
}


def indexes(settings: Settings) -> dict[str, tuple[Index, ...]]:
    """The indexes of each collection, with times to live from the settings."""
    kept_s = int(settings.retention.notifications.total_seconds())
    return _INDEXES | {
        NOTIFICATIONS: (Index(((KEPT_FROM, 1),), expire_after_s=kept_s),),
        OUTCOMES: (*_INDEXES[OUTCOMES], Index((("at", 1),), expire_after_s=kept_s)),
    }


async def init_shards(settings: Settings, shards: Shards) -> list[str]:
    """Create collections and indexes on every shard, and apply changed times to live; may be repeated. Returns what was done, a line each.

    Raises:
        StoreUnavailable: a shard does not answer or refuses a command.
        Refused: the region has another number of buckets than the settings say, or is of an earlier checkout.
    """
    done = []
    await shards.refresh_directory(require_all=True)
    try:
        await refuse_earlier_region(settings, shards)
        for shard in range(len(shards)):
            database = shards.database(shard)
            known = await write_first_count(database, settings.partitions)
            if (problem := known.problem(settings.partitions)) is not None:
                raise Refused(f"region {settings.region}: {problem}")
            if await is_mongos(shards.client(shard)):
                await _shard_collections(settings, shards.client(shard))
                done.append(f"shard {shard}: sharded by bucket, {settings.partitions} chunks a collection")
            existing = set(await database.list_collection_names())
            for name in COLLECTIONS:
                if name not in existing:
                    await database.create_collection(name)
                for index in indexes(settings)[name]:
                    await _ensure_index(database, name, index, await shard_time(shards, shard))
            done.append(f"shard {shard}: {', '.join(COLLECTIONS)}")
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB {mongo_reason(error)}") from error
    return done


async def _ensure_index(database: AsyncDatabase[dict[str, Any]], name: str, index: Index, now: datetime) -> None:
    """Create an index, or change the time to live of the one on the same keys. `now`: by the clock of the shard."""
    expiry: dict[str, Any] = {} if index.expire_after_s is None else {"expireAfterSeconds": index.expire_after_s}
    same = [one async for one in await database[name].list_indexes() if list(one["key"].items()) == list(index.keys)]
    before_s = same[0].get("expireAfterSeconds") if same else None
    if index.expire_after_s is not None and before_s not in (None, index.expire_after_s):
        if name == NOTIFICATIONS and before_s < index.expire_after_s:
            await expiry_becomes_longer(database, before_s, now)
        await database.command({"collMod": name, "index": {"keyPattern": dict(index.keys), **expiry}})
    else:
        options: dict[str, Any] = {"sparse": True} if index.sparse else {}
        await database[name].create_index(list(index.keys), **expiry, **options)


async def is_mongos(client: AsyncMongoClient[Any]) -> bool:
    hello = await client.admin.command("hello")
    return hello.get("msg") == "isdbgrid"


async def _shard_collections(settings: Settings, client: AsyncMongoClient[Any]) -> None:
    await client.admin.command("enableSharding", settings.database)
    for name in COLLECTIONS:
        namespace = f"{settings.database}.{name}"
        await client.admin.command({"shardCollection": namespace, "key": SHARD_KEY})
        # The first two commands may be repeated; a split at an existing boundary fails without an error code.
        _, starts = await sharding_of(client, namespace)
        for bucket in range(1, settings.partitions):
            if bucket not in starts:
                await client.admin.command({"split": namespace, "middle": {"bucket": bucket, "_id": MinKey()}})


async def sharding_of(client: AsyncMongoClient[Any], namespace: str) -> tuple[dict[str, Any] | None, set[int]]:
    """The shard key (None: not sharded), and the buckets at which a chunk begins besides the first; empty if the key is not ours."""
    collection = await client["config"]["collections"].find_one({"_id": namespace})
    key = dict(collection["key"]) if collection else None
    if collection is None or key != SHARD_KEY:
        return key, set()
    chunks = client["config"]["chunks"].find({"uuid": collection["uuid"]}, {"min": 1})
    starts = [chunk["min"] async for chunk in chunks]
    return key, {start["bucket"] for start in starts if start["_id"] == MinKey()} - {MinKey()}
