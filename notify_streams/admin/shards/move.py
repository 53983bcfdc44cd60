"""Moves a bucket to another shard while workers run; can be run again.

1. Block writes to the bucket on the target (`write_block`); only the mover writes there. Copy the rows.
2. Block writes on the source too. No row of the bucket changes now: workers keep their batches and retry, so reading stops (back-pressure).
   Copy the remaining rows until counts and digests are equal.
3. Write the new shard into the directory entry of every shard (`stores.bucket_directory`).
4. Wait for the directory lease. Now every worker uses the target or nothing. Allow writes on the target.
5. Wait until no earlier operation can be in progress, then delete the source's rows.

Nothing is lost: rows are deleted on the source only after the target had exactly the same rows while both were blocked. Nothing is doubled:
two shards never allow writes at the same time, and MongoDB refuses a writer that uses the old shard, so the ledger advances on one shard
only. Batches decided for the old shard are read and decided again. If the bucket's owner changes while it is blocked, a message relayed from
the old shard may be published again from the copied row with the same `delivery_id`, as after a crash.

Each step may be repeated. To undo a move before step 3, move the bucket to the shard where it is: that shard allows writes again, and the
rows on the other shards are deleted.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import Timestamp
from pymongo.errors import PyMongoError

from notify_streams.admin.shards.copy import BucketCopy, copy_bucket
from notify_streams.admin.shards.init import is_mongos
from notify_streams.admin.shards.move_lock import move_lock
from notify_streams.admin.shards.write_block import allow_writes, block_writes, is_blocked
from notify_streams.errors import Refused, StoreUnavailable
from notify_streams.preferences.mongo_document import STAMP
from notify_streams.stores.bucket_directory import LEASE_S, has_entry, write_entry
from notify_streams.stores.mongo import PREFERENCES
from notify_streams.stores.mongo_errors import mongo_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

#: How often the two copies are compared before the move fails.
_MAX_COMPARISONS: Final = 5


@dataclass(frozen=True, slots=True)
class WaitTimes:
    """How long a move waits for others."""

    #: Longer than workers use directory entries that they have read.
    directory_s: float
    #: Longer than an operation on the source can take, and than a stalled worker keeps its partitions.
    operations_s: float
    #: After this time a mover that does not renew its lock is considered dead.
    lock_s: float = 10.0


def wait_times(settings: Settings) -> WaitTimes:
    """The wait times that are safe with these settings."""
    operation_s = 2 * settings.outbox.transaction_timeout_s
    return WaitTimes(1.2 * LEASE_S, operation_s + settings.broker.session_timeout_s)


async def move_bucket(
    settings: Settings,
    shards: Shards,
    bucket: int,
    to: int,
    report: Callable[[str], None],
    waits: WaitTimes | None = None,
) -> dict[str, Any]:
    """Move `bucket` to shard `to`; returns ``{"bucket", "from", "to", "rows"}`` after the source's rows are deleted.

    `report` is called before each step with its description.

    Raises:
        Refused: no such bucket or shard, or the shard is a mongos, or another move is in progress.
        StoreUnavailable: a shard does not answer, or the copies stayed different. Run it again.
    """
    if not (0 <= bucket < settings.partitions and 0 <= to < len(shards)):
        raise Refused(f"there are buckets 0 to {settings.partitions - 1} and shards 0 to {len(shards) - 1}")
    waits = waits or wait_times(settings)
    try:
        if await is_mongos(shards.client(to)):
            raise Refused("behind a mongos use MongoDB's moveChunk")
        async with move_lock(shards.database(0), waits.lock_s):
            return await _move(settings, shards, bucket, to, report, waits)
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB {mongo_reason(error)}; run it again") from error


async def _move(
    settings: Settings, shards: Shards, bucket: int, to: int, report: Callable[[str], None], waits: WaitTimes
) -> dict[str, Any]:
    await shards.refresh_directory(require_all=True)
    source = shards.of(bucket)
    async with AsyncExitStack() as sessions:
        copies = [
            BucketCopy(
                shards.database(shard),
                await sessions.enter_async_context(shards.client(shard).start_session(causal_consistency=True)),
                bucket,
            )
            for shard in range(len(shards))
        ]
        target, others = copies[to], [copy for shard, copy in enumerate(copies) if shard != to]
        if source == to:
            await _check_rows_are_here(target, others, to)
        else:
            await _copy(copies[source], source, target, report)
        report("recording the new shard")
        # The target's entry first: until the others are written, both shards hold equal rows and block writes.
        for copy in (target, *others):
            await write_entry(copy.database, bucket, to, copy.session)
            if copy is not target:
                await block_writes(copy.database, bucket)
        report(f"waiting {waits.directory_s:g} s until every worker has read it")
        await asyncio.sleep(waits.directory_s)
        await _renew_stamps(target, settings.preferences.delta_ttl_s)
        report(f"allowing writes on shard {to}")
        await allow_writes(target.database, bucket)
        report(f"waiting {waits.operations_s:g} s until earlier operations have ended")
        await asyncio.sleep(waits.operations_s)
        report("deleting the rows on the other shards")
        for copy in others:
            await copy.delete()
        return {"bucket": bucket, "from": source, "to": to, "rows": await target.count()}


async def _check_rows_are_here(target: BucketCopy, others: Sequence[BucketCopy], to: int) -> None:
    """Refuse if only the settings place the bucket on `to`: its rows on other shards must not be deleted."""
    if not await has_entry(target.database, target.bucket) and any([await copy.count() for copy in others]):
        raise Refused(
            f"the settings place bucket {target.bucket} on shard {to}, but another shard has rows of it: set "
            "bucket_shards to the shard that has them (see `notify-streams shards check`), then move the bucket"
        )


async def _copy(source: BucketCopy, source_shard: int, target: BucketCopy, report: Callable[[str], None]) -> None:
    bucket = source.bucket
    if await target.count() and not await is_blocked(target.database, bucket):
        raise Refused(
            f"the target has rows of bucket {bucket} that no move has copied: see `notify-streams shards check`, "
            "and set bucket_shards to the shard that holds the bucket"
        )
    report("copying rows while workers write")
    await block_writes(target.database, bucket)
    await write_entry(source.database, bucket, source_shard, source.session)
    await copy_bucket(source, target)
    report("blocking writes on the source")
    await block_writes(source.database, bucket)
    # After this write the session's reads see every committed flush, also one whose worker does not know the result yet.
    await write_entry(source.database, bucket, source_shard, source.session)
    for _ in range(_MAX_COMPARISONS):
        report("copying the remaining rows")
        await copy_bucket(source, target)
        report("comparing the copies")
        if await source.digest() == await target.digest():
            return
    raise StoreUnavailable("the copies stayed different because rows are being deleted; run it again")


async def _renew_stamps(target: BucketCopy, delta_ttl_s: float) -> None:
    """Stamp recent choices with the target's clock: lease renewal follows each shard's clock, and theirs is the source's."""
    since = datetime.now(UTC) - timedelta(seconds=2 * delta_ttl_s)
    recent = {"bucket": target.bucket, "changed": {"$gte": Timestamp(since, 0)}}
    await target.database[PREFERENCES].update_many(
        recent, {"$currentDate": STAMP}, bypass_document_validation=True, session=target.session
    )
