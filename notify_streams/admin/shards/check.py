"""Compares a region's shards with the settings and with what `shards init` makes."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo.errors import PyMongoError

from notify_streams.addresses import without_credentials
from notify_streams.admin.shards.init import COLLECTIONS, SHARD_KEY, indexes, is_mongos, sharding_of
from notify_streams.admin.shards.write_block import blocked_buckets
from notify_streams.stores.bucket_directory import moved_away
from notify_streams.stores.mongo_errors import mongo_reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

_INIT: Final = "run `notify-streams shards init`"
#: A shard that has not answered then counts as unreachable.
_ANSWER_S: Final = 3.0
#: A transaction of a dead worker must not block the next owner for longer.
_MAX_TRANSACTION_S: Final = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """One check on one shard: what was checked, what was found, and how to correct it (empty: it is correct)."""

    shard: int
    what: str
    found: str
    remedy: str = ""

    @property
    def holds(self) -> bool:
        return not self.remedy

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


async def check_shards(settings: Settings, shards: Shards) -> list[Finding]:
    """All findings. A shard that does not answer is a finding, not an error."""
    await shards.refresh_directory()
    found = await asyncio.gather(*(_findings(settings, shards, shard) for shard in range(len(shards))))
    return [finding for findings in found for finding in findings]


async def _findings(settings: Settings, shards: Shards, shard: int) -> list[Finding]:
    return [finding async for finding in _check_shard(settings, shards, shard)]


async def _check_shard(settings: Settings, shards: Shards, shard: int) -> AsyncIterator[Finding]:
    try:
        with pymongo.timeout(_ANSWER_S):
            hello = await shards.client(shard).admin.command("hello")
        with pymongo.timeout(4 * settings.outbox.transaction_timeout_s):
            if await is_mongos(shards.client(shard)):
                yield Finding(shard, "kind", "mongos")
                async for finding in _check_chunks(settings, shards, shard):
                    yield finding
            else:
                async for finding in _check_replica_set(settings, shards, shard, hello):
                    yield finding
            async for finding in _check_indexes(settings, shards, shard):
                yield finding
            async for finding in _check_rows(settings, shards, shard):
                yield finding
    except PyMongoError as error:
        address = without_credentials(settings.shards[shard])
        remedy = "start its members, or correct its URI in `shards` and `mongo_security`"
        yield Finding(shard, "reachable", f"{address} {mongo_reason(error)}", remedy)


async def _check_replica_set(
    settings: Settings, shards: Shards, shard: int, hello: dict[str, Any]
) -> AsyncIterator[Finding]:
    if not hello.get("setName"):
        yield Finding(shard, "kind", "a single server", "start mongod with --replSet: transactions need it")
        return
    members = len(hello.get("hosts", ()))
    primary = hello.get("primary")
    remedy = "" if primary else "start members until more than half of them run"
    yield Finding(shard, "primary", f"{primary} of {hello['setName']}, {members} members", remedy)
    reply = await shards.client(shard).admin.command({"getParameter": 1, "transactionLifetimeLimitSeconds": 1})
    limit_s = reply["transactionLifetimeLimitSeconds"]
    least_s = settings.outbox.transaction_timeout_s
    remedy = ""
    if not least_s <= limit_s <= _MAX_TRANSACTION_S:
        remedy = f"set it between outbox.transaction_timeout_s ({least_s:g}) and {_MAX_TRANSACTION_S}"
    yield Finding(shard, "transactionLifetimeLimitSeconds", str(limit_s), remedy)


async def _check_chunks(settings: Settings, shards: Shards, shard: int) -> AsyncIterator[Finding]:
    for name in COLLECTIONS:
        key, starts = await sharding_of(shards.client(shard), f"{settings.database}.{name}")
        if key != SHARD_KEY:
            yield Finding(shard, f"{name}: shard key", str(key), _INIT)
            continue
        missing = sorted(set(range(1, settings.partitions)) - starts)
        text = f"no chunk begins at bucket {missing[0]}" if missing else f"{len(starts) + 1} chunks"
        yield Finding(shard, f"{name}: chunks", text, _INIT if missing else "")


async def _check_indexes(settings: Settings, shards: Shards, shard: int) -> AsyncIterator[Finding]:
    database = shards.database(shard)
    existing = set(await database.list_collection_names())
    for name in COLLECTIONS:
        if name not in existing:
            yield Finding(shard, name, "missing", _INIT)
            continue
        found = [
            (list(index["key"].items()), index.get("expireAfterSeconds"))
            async for index in await database[name].list_indexes()
        ]
        missing = [one for one in indexes(settings)[name] if (list(one.keys), one.expire_after_s) not in found]
        text = f"no index {dict(missing[0].keys)}" if missing else f"{len(found)} indexes"
        remedy = ""
        if missing:
            clash = any(list(missing[0].keys) == keys for keys, _ in found)
            remedy = f"it has another time to live than the settings: {_INIT}" if clash else _INIT
        yield Finding(shard, f"{name}: indexes", text, remedy)


async def _check_rows(settings: Settings, shards: Shards, shard: int) -> AsyncIterator[Finding]:
    """Rows of buckets that are on other shards, and moves that did not end."""
    database = shards.database(shard)
    buckets = shards.buckets(shard)
    for name in COLLECTIONS:
        count, example, bucket = await _rows_of_other_buckets(database[name], buckets)
        if count:
            remedy = f"run `notify-streams shards move {bucket} --to {shards.of(bucket)}`, which says what to do"
            if not 0 <= bucket < settings.partitions:
                remedy = f"there are {settings.partitions} buckets: set `partitions` to the topics' partition count"
            yield Finding(shard, f"{name}: rows of other buckets", f"{count}, such as {example} of {bucket}", remedy)
    moved = await moved_away(database, shard)
    blocked = await blocked_buckets(database)
    for bucket in range(settings.partitions):
        blocking = sum(bucket in blocked[name] for name in COLLECTIONS)
        if blocking != (len(COLLECTIONS) if bucket in moved else 0):
            yield Finding(
                shard,
                f"bucket {bucket}: unfinished move",
                f"writes blocked in {blocking} of {len(COLLECTIONS)} collections",
                f"run its `notify-streams shards move {bucket} --to …` again; `--to {shards.of(bucket)}` cancels it",
            )
    yield Finding(shard, "buckets", ", ".join(map(str, buckets)) or "none")


async def _rows_of_other_buckets(
    collection: AsyncCollection[dict[str, Any]], buckets: list[int]
) -> tuple[int, Any, int]:
    """The number of rows whose bucket is not in `buckets`, and the id and bucket of one. Numeric ids are marks of readers."""
    query = {"bucket": {"$nin": buckets}, "_id": {"$not": {"$type": "number"}}}
    example = await collection.find_one(query, {"bucket": 1})
    if example is None:
        return 0, None, 0
    return await collection.count_documents(query), example["_id"], example.get("bucket", -1)
