"""Copies a bucket to another shard byte for byte, and compares by a digest."""

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
#: Limits of what is held in memory at once, in documents and bytes: an outbox row may have 8 MB.
_CHUNK_ROWS: Final = 1_000
_CHUNK_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BucketCopy:
    """A bucket's rows on one shard. Reads see everything that was durable at the session's last operation on the shard."""

    database: AsyncDatabase[dict[str, Any]]
    session: AsyncClientSession
    bucket: int

    def rows(self, name: str) -> AsyncCollection[RawBSONDocument]:
        return self.database[name].with_options(codec_options=_RAW)

    def query(self, **conditions: Any) -> dict[str, Any]:
        """Rows of this bucket. Numeric ids are excluded: marks of preference readers, which belong to the shard, not to a bucket."""
        return {"bucket": self.bucket, "_id": {"$not": {"$type": "number"}}} | conditions

    async def count(self) -> int:
        """The number of rows in all collections."""
        return sum([await self.rows(name).count_documents(self.query(), session=self.session) for name in COLLECTIONS])

    async def digest(self) -> tuple[int, str]:
        """The number of rows, and a hash over all of them in the order of their ids."""
        count, digest = 0, sha256()
        for name in COLLECTIONS:
            digest.update(name.encode())
            async for row in self.rows(name).find(self.query(), session=self.session).sort("_id", 1):
                digest.update(row.raw)
                count += 1
        return count, digest.hexdigest()

    async def delete(self) -> None:
        for name in COLLECTIONS:
            await self.rows(name).delete_many({"bucket": self.bucket}, session=self.session)


async def copy_bucket(source: BucketCopy, target: BucketCopy) -> None:
    """Replace rows that are missing or different in `target`, and delete those that `source` does not have.

    May be repeated after a crash and while `source` changes; `digest` then shows whether both are equal.
    """
    for name in COLLECTIONS:
        await _copy_rows(name, source, target)
        await _delete_extra_rows(name, source, target)


async def _copy_rows(name: str, source: BucketCopy, target: BucketCopy) -> None:
    async for rows in _chunks(source.rows(name).find(source.query(), session=source.session)):
        same_ids = source.query(_id={"$in": [row["_id"] for row in rows]})
        existing = {row["_id"]: row.raw async for row in target.rows(name).find(same_ids, session=target.session)}
        writes: list[ReplaceOne[RawBSONDocument]] = [
            ReplaceOne({"bucket": source.bucket, "_id": row["_id"]}, row, upsert=True)
            for row in rows
            if existing.get(row["_id"]) != row.raw
        ]
        if writes:
            # The target blocks all other writes to the bucket.
            await target.rows(name).bulk_write(
                writes, ordered=False, bypass_document_validation=True, session=target.session
            )


async def _delete_extra_rows(name: str, source: BucketCopy, target: BucketCopy) -> None:
    async for rows in _chunks(target.rows(name).find(target.query(), {"_id": 1}, session=target.session)):
        ids = [row["_id"] for row in rows]
        same_ids = source.rows(name).find(source.query(_id={"$in": ids}), {"_id": 1}, session=source.session)
        existing = {row["_id"] async for row in same_ids}
        if extra := [row_id for row_id in ids if row_id not in existing]:
            await target.rows(name).delete_many(target.query(_id={"$in": extra}), session=target.session)


async def _chunks(rows: Any) -> AsyncIterator[list[RawBSONDocument]]:
    chunk: list[RawBSONDocument] = []
    size = 0
    async for row in rows:
        chunk.append(row)
        size += len(row.raw)
        if len(chunk) >= _CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
