"""Makes one bucket on a shard the same as on another, byte for byte, and says whether it is. Refuses to know why."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne

from notify_streams.admin.shards.init import COLLECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.database import AsyncDatabase

_RAW: Final = CodecOptions[RawBSONDocument](document_class=RawBSONDocument)
#: Documents, or bytes, that are held at once: an outbox row may have 8 MB.
_AT_ONCE: Final = 1_000
_AT_ONCE_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Side:
    """A bucket on one shard. Reads in the session see everything that was durable when the session last heard of the shard."""

    database: AsyncDatabase[dict[str, Any]]
    session: AsyncClientSession
    bucket: int

    def rows(self, name: str) -> AsyncCollection[RawBSONDocument]:
        return self.database[name].with_options(codec_options=_RAW)

    def found(self, **but: Any) -> dict[str, Any]:
        """Marks of readers (`preferences.durable`) have numbers for ids; they belong to the shard, not to the bucket."""
        return {"bucket": self.bucket, "_id": {"$not": {"$type": "number"}}} | but

    async def count(self) -> int:
        """How many rows there are, over all collections."""
        counts = [await self.rows(name).count_documents(self.found(), session=self.session) for name in COLLECTIONS]
        return sum(counts)

    async def digest(self) -> tuple[int, str]:
        """How many rows there are, and a hash over all of them in the order of their ids."""
        count, running = 0, sha256()
        for name in COLLECTIONS:
            running.update(name.encode())
            async for row in self.rows(name).find(self.found(), session=self.session).sort("_id", 1):
                running.update(row.raw)
                count += 1
        return count, running.hexdigest()

    async def delete(self) -> int:
        """Delete the bucket; returns how many rows that were."""
        gone = 0
        for name in COLLECTIONS:
            gone += (await self.rows(name).delete_many({"bucket": self.bucket}, session=self.session)).deleted_count
        return gone


async def copy_bucket(source: Side, target: Side) -> int:
    """Write what `target` lacks or has differently, delete what it has too much; returns how many rows that were.

    Done again after any crash, and while `source` changes; whether it is the same then, `digest` says.
    """
    return sum([await _copy(name, source, target) + await _prune(name, source, target) for name in COLLECTIONS])


async def _copy(name: str, source: Side, target: Side) -> int:
    written = 0
    async for rows in _parts(source.rows(name).find(source.found(), session=source.session)):
        ids = source.found(_id={"$in": [row["_id"] for row in rows]})
        there = {row["_id"]: row.raw async for row in target.rows(name).find(ids, session=target.session)}
        different = [row for row in rows if there.get(row["_id"]) != row.raw]
        if different:
            writes: list[ReplaceOne[RawBSONDocument]] = [
                ReplaceOne({"bucket": source.bucket, "_id": row["_id"]}, row, upsert=True) for row in different
            ]
            # The target refuses the bucket to everybody else.
            await target.rows(name).bulk_write(
                writes, ordered=False, bypass_document_validation=True, session=target.session
            )
        written += len(different)
    return written


async def _prune(name: str, source: Side, target: Side) -> int:
    gone = 0
    async for rows in _parts(target.rows(name).find(target.found(), {"_id": 1}, session=target.session)):
        ids = [row["_id"] for row in rows]
        wanted = source.rows(name).find(source.found(_id={"$in": ids}), {"_id": 1}, session=source.session)
        there = {row["_id"] async for row in wanted}
        if extra := [identity for identity in ids if identity not in there]:
            await target.rows(name).delete_many(target.found(_id={"$in": extra}), session=target.session)
            gone += len(extra)
    return gone


async def _parts(rows: Any) -> AsyncIterator[list[RawBSONDocument]]:
    part: list[RawBSONDocument] = []
    size = 0
    async for row in rows:
        part.append(row)
        size += len(row.raw)
        if len(part) >= _AT_ONCE or size >= _AT_ONCE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
