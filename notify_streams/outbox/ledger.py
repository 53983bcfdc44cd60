"""The ledger: position and counts of each role and source partition.

``next_offset = first_offset + taken + other_lane + holes + lost`` and ``taken = notified + forwarded + repartitioned + dead + duplicate``.
`holes` are positions without a record: compaction, transaction markers, records of an aborted transaction. `lost` are
positions that Kafka's retention deleted before they were read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from pymongo import UpdateOne

from notify_streams.outbox.fence import EPOCH, fence_for_new_ledger
from notify_streams.outbox.flush_plan import COUNTED, POSITIONS
from notify_streams.records.ids import ledger_id
from notify_streams.roles import LANES
from notify_streams.stores.mongo import DURABLE, LEDGER, by_shard
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.stores.mongo import Shards

Source = tuple[str, int]

_ZEROES: Final = dict.fromkeys((*POSITIONS, *COUNTED.values()), 0)


def sums_close(document: Mapping[str, Any]) -> bool:
    """Whether the counts of one ledger document add up."""
    moved = sum(document[name] for name in POSITIONS)
    outcomes = sum(document[name] for name in COUNTED.values())
    return bool(document["next_offset"] == document["first_offset"] + moved and document["taken"] == outcomes)


class Ledger:
    """Reads and creates ledger documents of one role; only `transaction` moves them."""

    def __init__(self, shards: Shards, role: str, timeout_s: float) -> None:
        self._shards = shards
        self._role = role
        self._timeout_s = timeout_s

    async def positions(self, sources: Collection[Source]) -> dict[Source, int]:
        """`next_offset` of each source that has a ledger.

        Raises:
            StoreUnavailable: a shard does not answer.
        """
        positions: dict[Source, int] = {}
        for shard, mine in by_shard(self._shards, sources, itemgetter(1)).items():
            with mongo_call(f"read ledgers on shard {shard}", self._timeout_s):
                positions |= await self._found(self._shards.database(shard)[LEDGER], mine)
        return positions

    async def open(self, first: Mapping[Source, int]) -> dict[Source, int]:
        """`next_offset` of each source. Creates missing ledgers at the position given in `first`.

        Raises:
            StoreUnavailable: a shard does not answer.
        """
        positions: dict[Source, int] = {}
        for shard, sources in by_shard(self._shards, first, itemgetter(1)).items():
            positions |= await self._open(shard, sources, first)
        return positions

    async def _found(self, collection: AsyncCollection[Any], sources: Sequence[Source]) -> dict[Source, int]:
        named = {ledger_id(self._role, *source): source for source in sources}
        query = {"_id": {"$in": list(named)}, "bucket": {"$in": sorted({source[1] for source in sources})}}
        return {named[one["_id"]]: one["next_offset"] async for one in collection.find(query)}

    async def _open(self, shard: int, sources: Sequence[Source], first: Mapping[Source, int]) -> dict[Source, int]:
        collection = self._shards.database(shard)[LEDGER]
        with mongo_call(f"open ledgers on shard {shard}", self._timeout_s):
            found = await self._found(collection, sources)
            missing = [source for source in sources if source not in found]
            if missing:
                await self._create(shard, missing, first)
                found |= await self._found(collection, missing)
        return found

    async def _create(self, shard: int, sources: Sequence[Source], first: Mapping[Source, int]) -> None:
        """Create ledgers. Two workers may try at once: one creates it, the other finds it."""
        database = self._shards.database(shard)

        async def body(session: AsyncClientSession) -> None:
            fence = {EPOCH: await fence_for_new_ledger(database, session)} if self._role in LANES else {}
            created = []
            for source in sources:
                topic, partition = source
                fields = _ZEROES | fence | {"role": self._role, "topic": topic, "partition": partition}
                fields |= {"first_offset": first[source], "next_offset": first[source], "began_at": datetime.now(UTC)}
                identity = {"_id": ledger_id(self._role, topic, partition), "bucket": partition}
                created.append(UpdateOne(identity, {"$setOnInsert": fields}, upsert=True))
            await database[LEDGER].bulk_write(created, ordered=False, session=session)

        async with self._shards.client(shard).start_session() as session:
            await session.with_transaction(body, write_concern=DURABLE)
