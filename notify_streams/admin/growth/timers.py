"""Gives the timers of one shard their buckets after a growth.

A ledger says how many timers its deliveries have, so those that leave a bucket are counted in its ledger (`moved_out`), and in that of the new
one (`moved_in`), in the transaction that moves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from notify_streams.delivery.delivery_ledger import MOVED_IN, MOVED_OUT, DeliveryLedger
from notify_streams.errors import Refused
from notify_streams.failpoints import failpoint
from notify_streams.records.channel_message import read_channel_message
from notify_streams.records.ids import ledger_id
from notify_streams.records.trigger import Trigger, read_trigger
from notify_streams.roles import CHANNEL_ROLES, LANES
from notify_streams.routing.waiting_triggers import unpack_waiting
from notify_streams.stores.mongo import LEDGER, TIMERS, run_transaction, write_in_session
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.admin.growth.documents import BucketSplit
    from notify_streams.stores.mongo import Document, Shards

#: Timers of one transaction.
_AT_ONCE: Final = 500


async def open_new_ledgers(shards: Shards, split: BucketSplit, timeout_s: float) -> None:
    """Create the ledgers of the channel roles for the new buckets: their partitions are empty.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    new = dict.fromkeys(range(split.before, split.to), 0)
    for role in CHANNEL_ROLES:
        await DeliveryLedger(shards, role, timeout_s).open(new)


class TimerSplit:
    """Moves one shard's timers; may be repeated."""

    def __init__(self, shards: Shards, shard: int, split: BucketSplit, timeout_s: float) -> None:
        self._shards = shards
        self._shard = shard
        self._split = split
        self._timeout_s = timeout_s

    async def run(self) -> int:
        """All timers; returns how many have another bucket now.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        moved = 0
        for bucket in self._shards.buckets(self._shard):
            for role in (*CHANNEL_ROLES, *LANES):
                for new, timers in (await self._leaving(bucket, role)).items():
                    for first in range(0, len(timers), _AT_ONCE):
                        await self._move(role, bucket, new, timers[first : first + _AT_ONCE])
                        failpoint("inside_growth_timers")
                    moved += len(timers)
        return moved

    async def _leaving(self, bucket: int, role: str) -> Mapping[int, list[Document]]:
        """The timers that leave a bucket, by the new one: id, and whether the ledger counts it."""
        found: dict[int, list[Document]] = {}
        fields = dict.fromkeys(("record", "replay", "claim"), 1)
        with mongo_call(f"read timers of bucket {bucket}", self._timeout_s):
            timers = self._shards.database(self._shard)[TIMERS].find({"bucket": bucket, "role": role}, fields)
            async for timer in timers:
                user_id = user_of(role, bytes(timer["record"]))
                if user_id is not None and (new := self._split.new_bucket(user_id, bucket)) is not None:
                    # A replay is counted when its attempt begins.
                    counted = role in CHANNEL_ROLES and not (timer["replay"] and timer["claim"] is None)
                    found.setdefault(new, []).append({"_id": timer["_id"], "counted": counted})
        return found

    async def _move(self, role: str, bucket: int, new: int, timers: Sequence[Document]) -> None:
        ids = [timer["_id"] for timer in timers]
        count = sum(timer["counted"] for timer in timers)

        async def body(session: AsyncClientSession) -> None:
            database = self._shards.database(self._shard)
            leaving = {"q": {"bucket": bucket, "_id": {"$in": ids}}, "u": {"$set": {"bucket": new}}, "multi": True}
            moved = await write_in_session(session, database, "update", TIMERS, updates=[leaving])
            if moved != len(ids):
                # By another call of the command, or by this one: a commit whose answer was lost.
                raise Refused(f"timers of bucket {bucket} were moved meanwhile: run the command again, one at a time")
            if count:
                steps = [
                    {"q": {"_id": ledger_id(role, role, place), "bucket": place}, "u": {"$inc": {name: count}}}
                    for place, name in ((bucket, MOVED_OUT), (new, MOVED_IN))
                ]
                await write_in_session(session, database, "update", LEDGER, updates=steps)

        with mongo_call(f"move timers of bucket {bucket}", self._timeout_s):
            await run_transaction(self._shards.client(self._shard), body)


def user_of(role: str, record: bytes) -> str | None:
    """The user of a timer's record: a channel message, or on a router a trigger that waits; None: it names none."""
    try:
        if role in CHANNEL_ROLES:
            return read_channel_message(record).user_id
        _, _, value, headers = unpack_waiting(record)
        trigger = read_trigger(value, cast("Sequence[tuple[str, bytes | None]]", headers))
    except msgspec.MsgspecError:
        return None
    return trigger.user_id if isinstance(trigger, Trigger) else None
