"""Moves one bucket to another shard while everything runs, without losing or doubling a row; killed anywhere, it is run again.

1. The target refuses the bucket to everybody (`refusal`); the mover alone writes there. What is there is made the same as the source.
2. The source refuses it as well, for good. From here no row of the bucket changes anywhere: workers hold what they have for it and
   ask again, so their reading stops (back-pressure). It is made the same again, which is little now, until counts and digests agree.
3. Every shard but the target says durably that the bucket is at the target (`stores.moved`).
4. After the lease in which workers believe what a shard said, all of them use the target, or nothing. The target accepts the bucket.
5. When no operation of before can be under way any more, the source's rows are deleted.

Nothing is lost: the source is deleted only after the target had exactly its rows, at a time when neither took writes. Nothing is
doubled: at no time do two shards take writes of the bucket, and who believes the old place is refused there by the database itself, so
the ledger moves on in one place. What a worker had decided for the old place is read and decided again. A message that a new owner
relays from the old place while the bucket is held may come again from the copied row: as after a crash, with the same `delivery_id`.

A run that finds steps done does them again, and each changes nothing then. A move is given up before step 3 by a move to where the
bucket is: that shard accepts it again, and the others' rows go.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import Timestamp
from pymongo.errors import PyMongoError

from notify_streams.admin.shards.copying import Side, copy_bucket
from notify_streams.admin.shards.init import is_mongos
from notify_streams.admin.shards.move_lock import move_lock
from notify_streams.admin.shards.write_block import accept, refuse, refuses
from notify_streams.errors import Refused, StoreUnavailable
from notify_streams.preferences.mongo_document import STAMP
from notify_streams.stores.bucket_directory import LEASE_S, MOVED
from notify_streams.stores.mongo import PREFERENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

#: How often the two sides are compared before somebody must look why they differ.
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a move waits for others."""

    #: Longer than a worker believes what a shard said (`stores.moved`).
    lease_s: float
    #: Longer than an operation that a worker began on the source can take, and than it keeps its partitions if it stands still.
    under_way_s: float
    #: A mover that says nothing for this long is dead.
    mover_s: float = 10.0


def waits_of(settings: Settings) -> Waits:
    """What these settings ask for."""
    operation_s = 2 * settings.outbox.transaction_timeout_s
    return Waits(1.2 * LEASE_S, operation_s + settings.broker.session_timeout_s)


async def move_bucket(
    settings: Settings, shards: Shards, bucket: int, to: int, say: Callable[[str], None], waits: Waits | None = None
) -> dict[str, Any]:
    """Move it; returns ``{"bucket", "from", "to", "rows"}`` when it is done with the source's rows deleted.

    `say` hears each step before it is taken.

    Raises:
        Refused: there is no such bucket or shard, a mongos does this itself, another move is under way.
        StoreUnavailable: a shard does not answer, or the sides would not agree. Run it again.
    """
    if not (0 <= bucket < settings.partitions and 0 <= to < len(shards)):
        raise Refused(f"there are buckets 0 to {settings.partitions - 1} and shards 0 to {len(shards) - 1}")
    waits = waits or waits_of(settings)
    try:
        if await is_mongos(shards.client(to)):
            raise Refused("a mongos places the chunks of a bucket: use its moveChunk")
        async with move_lock(shards.database(0), waits.mover_s):
            return await _moved(settings, shards, bucket, to, say, waits)
    except PyMongoError as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}; run it again"[:300]) from error


async def _moved(
    settings: Settings, shards: Shards, bucket: int, to: int, say: Callable[[str], None], waits: Waits
) -> dict[str, Any]:
    await shards.learn_all()
    place = shards.of(bucket)
    async with AsyncExitStack() as sessions:
        sides = [
            Side(
                shards.database(shard),
                await sessions.enter_async_context(shards.client(shard).start_session(causal_consistency=True)),
                bucket,
            )
            for shard in range(len(shards))
        ]
        target, others = sides[to], [side for shard, side in enumerate(sides) if shard != to]
        if place == to:
            await _must_be_here(target, others, to)
        else:
            await _copied(sides[place], place, target, say)
        say("saying where it is")
        # The target's own word first: until the others have given theirs, both sides are equal and refuse.
        for side in (target, *others):
            await _say_where(side, to)
            if side is not target:
                await refuse(side.database, bucket)
        say(f"waiting {waits.lease_s:g} s, until every worker knows")
        await asyncio.sleep(waits.lease_s)
        await _stamp(target, settings.preferences.delta_ttl_s)
        say(f"accepting it on shard {to}")
        await accept(target.database, bucket)
        say(f"waiting {waits.under_way_s:g} s, until nothing of before is under way")
        await asyncio.sleep(waits.under_way_s)
        say("deleting what is left elsewhere")
        for side in others:
            await side.delete()
        return {"bucket": bucket, "from": place, "to": to, "rows": await target.count()}


async def _must_be_here(target: Side, others: Sequence[Side], to: int) -> None:
    """Settings that only say that the bucket is here must not cost the rows that are elsewhere."""
    said = await target.database[MOVED].find_one({"_id": target.bucket})
    if said is None and any([await side.count() for side in others]):
        raise Refused(
            f"the settings say that bucket {target.bucket} is on shard {to}, and its rows are elsewhere: "
            "set bucket_shards back to where they are (`notify-streams shards check`), then move it"
        )


async def _copied(source: Side, place: int, target: Side, say: Callable[[str], None]) -> None:
    bucket = source.bucket
    if await target.count() and not await refuses(target.database, bucket):
        raise Refused(
            f"there are rows of bucket {bucket} where it should go, and no move left them: "
            "`notify-streams shards check` shows them; set bucket_shards to where the bucket really is"
        )
    say("copying while it is written")
    await refuse(target.database, bucket)
    await _say_where(source, place)
    await copy_bucket(source, target)
    say("holding its writes")
    await refuse(source.database, bucket)
    # After this write, reads of the session see every flush that ever committed there, also one whose worker does not know it yet.
    await _say_where(source, place)
    for _ in range(_TRIES):
        say("copying the rest")
        await copy_bucket(source, target)
        say("comparing")
        if await source.digest() == await target.digest():
            return
    raise StoreUnavailable("the two sides do not agree, since rows are deleted all the time; run it again")


async def _say_where(side: Side, to: int) -> None:
    said = {"$set": {"to": to}, "$currentDate": {"at": True}}
    await side.database[MOVED].update_one({"_id": side.bucket}, said, upsert=True, session=side.session)


async def _stamp(target: Side, delta_ttl_s: float) -> None:
    """Let young choices look new to whoever follows this shard's clock: they carry the source's."""
    since = datetime.now(UTC) - timedelta(seconds=2 * delta_ttl_s)
    young = {"bucket": target.bucket, "changed": {"$gte": Timestamp(since, 0)}}
    await target.database[PREFERENCES].update_many(
        young, {"$currentDate": STAMP}, bypass_document_validation=True, session=target.session
    )
