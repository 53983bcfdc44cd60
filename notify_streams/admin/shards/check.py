"""Says how a region's shards differ from what `shards init` makes and the settings say, each with what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo.errors import PyMongoError

from notify_streams.admin.shards.init import COLLECTIONS, INDEXES, SHARD_KEY, is_mongos, sharding_of
from notify_streams.admin.shards.write_block import refused
from notify_streams.stores.bucket_directory import MOVED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

_INIT: Final = "run `notify-streams shards init`"
#: A worker that died within a transaction must not hold its successor up for longer.
_LONGEST_TRANSACTION_S: Final = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at on one shard; `remedy` is empty where it is as it must be."""

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
    """Everything that was looked at. A shard that does not answer is a finding, not an error."""
    await shards.learn()
    return [found for shard in range(len(shards)) async for found in _shard(settings, shards, shard)]


async def _shard(settings: Settings, shards: Shards, shard: int) -> AsyncIterator[Finding]:
    try:
        with pymongo.timeout(4 * settings.outbox.transaction_timeout_s):
            hello = await shards.client(shard).admin.command("hello")
            if await is_mongos(shards.client(shard)):
                yield Finding(shard, "kind", "mongos")
                async for found in _chunks(settings, shards, shard):
                    yield found
            else:
                async for found in _replica_set(settings, shards, shard, hello):
                    yield found
            async for found in _indexes(shards, shard):
                yield found
            async for found in _rows(settings, shards, shard):
                yield found
    except PyMongoError as error:
        text = f"{type(error).__name__}: {error}"[:120]
        yield Finding(shard, "reachable", text, "start its members, or mend its URI in `shards`")


async def _replica_set(settings: Settings, shards: Shards, shard: int, hello: dict[str, Any]) -> AsyncIterator[Finding]:
    if not hello.get("setName"):
        yield Finding(
            shard, "kind", "a single server", "start mongod with --replSet: there are no transactions without"
        )
        return
    members = len(hello.get("hosts", ()))
    primary = hello.get("primary")
    remedy = "" if primary else "start members until more than half of them run"
    yield Finding(shard, "primary", f"{primary} of {hello['setName']}, {members} members", remedy)
    answer = await shards.client(shard).admin.command({"getParameter": 1, "transactionLifetimeLimitSeconds": 1})
    limit_s = answer["transactionLifetimeLimitSeconds"]
    least_s = settings.outbox.transaction_timeout_s
    remedy = ""
    if not least_s <= limit_s <= _LONGEST_TRANSACTION_S:
        remedy = f"set it between outbox.transaction_timeout_s ({least_s:g}) and {_LONGEST_TRANSACTION_S}"
    yield Finding(shard, "transactionLifetimeLimitSeconds", str(limit_s), remedy)


async def _chunks(settings: Settings, shards: Shards, shard: int) -> AsyncIterator[Finding]:
    for name in COLLECTIONS:
        key, starts = await sharding_of(shards.client(shard), f"{settings.database}.{name}")
        if key != SHARD_KEY:
            yield Finding(shard, f"{name}: shard key", str(key), _INIT)
            continue
        missing = sorted(set(range(1, settings.partitions)) - starts)
        text = f"no chunk begins at bucket {missing[0]}" if missing else f"{len(starts) + 1} chunks"
        yield Finding(shard, f"{name}: chunks", text, _INIT if missing else "")


async def _indexes(shards: Shards, shard: int) -> AsyncIterator[Finding]:
    database = shards.database(shard)
    there = set(await database.list_collection_names())
    for name in COLLECTIONS:
        if name not in there:
            yield Finding(shard, name, "missing", _INIT)
            continue
        found = [
            (list(index["key"].items()), index.get("expireAfterSeconds"))
            async for index in await database[name].list_indexes()
        ]
        missing = [one for one in INDEXES[name] if (list(one.keys), one.expire_after_s) not in found]
        text = f"no index {dict(missing[0].keys)}" if missing else f"{len(found)} indexes"
        remedy = ""
        if missing:
            clash = any(list(missing[0].keys) == keys for keys, _ in found)
            remedy = f"drop the index on these keys, it has another time to live; then {_INIT}" if clash else _INIT
        yield Finding(shard, f"{name}: indexes", text, remedy)


async def _rows(settings: Settings, shards: Shards, shard: int) -> AsyncIterator[Finding]:
    """Rows of buckets that are elsewhere, and what moves left."""
    database = shards.database(shard)
    here = shards.buckets(shard)
    for name in COLLECTIONS:
        count, example, bucket = await _strangers(database[name], here)
        if count:
            remedy = (
                f"run `notify-streams shards move {bucket} --to {shards.of(bucket)}`, which says what is to be done"
            )
            if not 0 <= bucket < settings.partitions:
                remedy = f"there are {settings.partitions} buckets: set `partitions` to what the topics have"
            yield Finding(shard, f"{name}: rows of other buckets", f"{count}, such as {example} of {bucket}", remedy)
    said = {one["_id"] async for one in database[MOVED].find({"to": {"$ne": shard}})}
    held = await refused(database)
    for bucket in range(settings.partitions):
        refusing = [name for name in COLLECTIONS if bucket in held.get(name, ())]
        wanted = bucket in said
        if len(refusing) != (len(COLLECTIONS) if wanted else 0):
            place = shards.of(bucket)
            yield Finding(
                shard,
                f"bucket {bucket}: a move that did not end",
                f"refused by {len(refusing)} of {len(COLLECTIONS)} collections",
                f"run its `notify-streams shards move {bucket} --to …` again; `--to {place}` gives it up",
            )
    yield Finding(shard, "buckets", ", ".join(map(str, here)) or "none")


async def _strangers(collection: AsyncCollection[dict[str, Any]], here: list[int]) -> tuple[int, Any, int]:
    """How many rows there are of other buckets, and the id and the bucket of one. Marks of readers have numbers for ids."""
    query = {"bucket": {"$nin": here}, "_id": {"$not": {"$type": "number"}}}
    example = await collection.find_one(query, {"bucket": 1})
    if example is None:
        return 0, None, 0
    return await collection.count_documents(query), example["_id"], example.get("bucket", -1)
