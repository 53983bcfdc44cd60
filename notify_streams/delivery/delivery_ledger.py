"""The ledgers of the delivery roles: positions, counts, owner.

::

    next_offset = first_offset + taken + holes + lost
    taken       = fresh + duplicate + foreign
    fresh       = sent + failed + suppressed + expired + retrying
    retrying + replayed + moved_in = moved_out + resolved_sent + resolved_failed + resolved_suppressed + resolved_expired + timers

`fresh` counts first attempts; `retrying` those of them that did not end the delivery. `duplicate`: the same delivery again. `foreign`: not a
message of this channel. `resolved_*` count deliveries that a later attempt ended. `moved_*`: timers that went to another bucket when the
region grew; a ledger without these fields has none.

The token is written once for each assignment, before the position is read. Every step of the ledger is conditional on it, so a worker
that was replaced cannot move the ledger. A worker with a stored generation above its own was replaced already. Calls may have begun for
the offsets [`next_offset`, `claimed_to`): a new owner looks their deliveries up, and marks calls for those without a stored outcome as
possible duplicates.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pymongo import UpdateOne

from notify_streams.failpoints import failpoint
from notify_streams.records.ids import ledger_id
from notify_streams.records.outcomes import DeliveryState
from notify_streams.stores.mongo import LEDGER, by_shard
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from notify_streams.stores.mongo import Document, Shards

POSITIONS: Final = ("taken", "holes", "lost")
KINDS: Final = ("fresh", "duplicate", "foreign")
#: What a first attempt is counted as, by the state that it leads to.
FIRST: Final = {
    DeliveryState.SENT: "sent",
    DeliveryState.DELIVERED: "sent",
    DeliveryState.FAILED: "failed",
    DeliveryState.SUPPRESSED: "suppressed",
    DeliveryState.EXPIRED: "expired",
    DeliveryState.RETRYING: "retrying",
}
RESOLVED: Final = {
    DeliveryState.SENT: "resolved_sent",
    DeliveryState.DELIVERED: "resolved_sent",
    DeliveryState.FAILED: "resolved_failed",
    DeliveryState.SUPPRESSED: "resolved_suppressed",
    DeliveryState.EXPIRED: "resolved_expired",
}
MOVED_IN: Final = "moved_in"
MOVED_OUT: Final = "moved_out"
COUNTS: Final = tuple(dict.fromkeys((*POSITIONS, *KINDS, *FIRST.values(), "replayed", *RESOLVED.values())))

#: An owner that has not moved its ledger for so long may be replaced by one of a lower generation: the group was made anew.
_SILENT: Final = timedelta(seconds=60)
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(dict[str, int]).decode
_unpack_restored: Final = msgspec.msgpack.Decoder(dict[str, tuple[int, int]]).decode


def delivery_sums_close(document: Mapping[str, Any]) -> bool:
    """Whether the counts of one delivery ledger add up, without its timers."""
    moved = sum(document[name] for name in POSITIONS)
    first = sum(document[name] for name in dict.fromkeys(FIRST.values()))
    return bool(
        document["next_offset"] == document["first_offset"] + moved
        and document["taken"] == sum(document[name] for name in KINDS)
        and document["fresh"] == first
    )


def open_deliveries(document: Mapping[str, Any]) -> int:
    """The number of timers that the ledger's deliveries must have."""
    ended = sum(document[name] for name in dict.fromkeys(RESOLVED.values()))
    moved = document.get(MOVED_IN, 0) - document.get(MOVED_OUT, 0)
    return int(document["retrying"] + document["replayed"] + moved - ended)


@dataclass(frozen=True, slots=True)
class Token:
    """Identifies one assignment of one worker."""

    generation: int
    random: bytes = field(default_factory=lambda: secrets.token_bytes(8))


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore apply` found: which messages stem from decisions that the restored database does not have."""

    #: The next offset of the channel topic at that time.
    end: int
    #: Kafka is another one: its trigger topics began anew.
    is_new: bool
    #: Trigger topic → the positions [first, last) that are decided again, and may have been sent before.
    again: Mapping[str, tuple[int, int]]

    def is_superseded(self, offset: int, source_topic: str, source_offset: int) -> bool:
        """Whether the message was published before the restore and its trigger is decided again."""
        first, _ = self.again.get(source_topic, (source_offset + 1, 0))
        return offset < self.end and source_offset >= first

    def may_have_been_sent(self, source_topic: str, source_offset: int) -> bool:
        """Whether the trigger was decided before the restore, too."""
        first, last = self.again.get(source_topic, (0, 0))
        return first <= source_offset < last


@dataclass(frozen=True, slots=True)
class OwnedLedger:
    """A ledger as its new owner has read it."""

    partition: int
    next_offset: int
    #: Calls may have begun for offsets below this one.
    claimed_to: int
    #: Trigger topic → highest position of which a message was counted.
    seen: Mapping[str, int]
    last_flush: str | None
    #: None: the region was never restored.
    restored: Restored | None = None


def pack_seen(seen: Mapping[str, int]) -> bytes:
    """`OwnedLedger.seen` as it is stored: topic names have dots, which MongoDB would take for paths."""
    return _pack(dict(seen))


def restored_fields(restored: Restored) -> Document:
    """`Restored` as a ledger keeps it, in its field `restored`."""
    return {"end": restored.end, "is_new": restored.is_new, "again": msgspec.msgpack.encode(restored.again)}


def read_restored(document: Mapping[str, Any]) -> Restored | None:
    """That of a ledger document."""
    found = document.get("restored")
    return found and Restored(found["end"], found["is_new"], _unpack_restored(found["again"]))


class DeliveryLedger:
    """Takes over and verifies the ledgers of one delivery role, whose topic has the same name."""

    def __init__(self, shards: Shards, role: str, timeout_s: float) -> None:
        self._shards = shards
        self._role = role
        self._timeout_s = timeout_s

    def id_of(self, partition: int) -> str:
        return ledger_id(self._role, self._role, partition)

    async def acquire(self, partitions: Collection[int], token: Token) -> dict[int, OwnedLedger]:
        """Write `token` into the ledgers of these partitions, then read them.

        Returns:
            The ledgers that now have this token. Missing: no ledger yet (`create`), or a worker of a higher generation owns it.

        Raises:
            StoreUnavailable: a shard does not answer; call again.
        """
        failpoint("before_token")
        owned: dict[int, OwnedLedger] = {}
        for shard, mine in by_shard(self._shards, partitions, int).items():
            with mongo_call(f"take over ledgers of {self._role} on shard {shard}", self._timeout_s):
                collection = self._shards.database(shard)[LEDGER]
                await collection.bulk_write([self._acquire(one, token) for one in mine], ordered=False)
                failpoint("after_token")
                query = {**self._query(mine), "token.random": token.random}
                owned |= {one["partition"]: _owned(one) async for one in collection.find(query)}
        return owned

    async def create(self, first: Mapping[int, int], token: Token) -> dict[int, OwnedLedger]:
        """Create the missing ledgers, partition → first offset, then take all of them over.

        Raises:
            StoreUnavailable: a shard does not answer; call again.
        """
        await self.open(first)
        return await self.acquire(first, token)

    async def open(self, first: Mapping[int, int]) -> None:
        """Create the missing ledgers, partition → first offset.

        Raises:
            StoreUnavailable: a shard does not answer; call again.
        """
        for shard, mine in by_shard(self._shards, first, int).items():
            with mongo_call(f"create ledgers of {self._role} on shard {shard}", self._timeout_s):
                created = [
                    UpdateOne(
                        {"_id": self.id_of(one), "bucket": one},
                        {"$setOnInsert": self._new(one, first[one])},
                        upsert=True,
                    )
                    for one in mine
                ]
                await self._shards.database(shard)[LEDGER].bulk_write(created, ordered=False)

    async def existing(self, partitions: Collection[int]) -> set[int]:
        """The partitions that have a ledger.

        Raises:
            StoreUnavailable: a shard does not answer.
        """
        found: set[int] = set()
        for shard, mine in by_shard(self._shards, partitions, int).items():
            with mongo_call(f"read ledgers of {self._role} on shard {shard}", self._timeout_s):
                cursor = self._shards.database(shard)[LEDGER].find(self._query(mine), {"partition": 1})
                found |= {one["partition"] async for one in cursor}
        return found

    async def owned(self, shard: int, tokens: Mapping[int, Token]) -> tuple[set[int], float]:
        """Which of these partitions of `shard` still have their token, and when the reading began (monotonic).

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        began = time.monotonic()
        with mongo_call(f"verify ledgers of {self._role} on shard {shard}", self._timeout_s):
            cursor = self._shards.database(shard)[LEDGER].find(self._query(list(tokens)), {"partition": 1, "token": 1})
            found = {one["partition"] async for one in cursor if _has(one, tokens[one["partition"]])}
        return found, began

    def _query(self, partitions: Sequence[int]) -> Document:
        return {"_id": {"$in": [self.id_of(one) for one in partitions]}, "bucket": {"$in": list(partitions)}}

    def _acquire(self, partition: int, token: Token) -> UpdateOne:
        may_take = [
            {"$not": [{"$gt": ["$token.generation", token.generation]}]},
            {"$lt": ["$token.at", {"$subtract": ["$$NOW", int(_SILENT.total_seconds() * 1000)]}]},
        ]
        stored = {"generation": token.generation, "random": token.random, "at": "$$NOW"}
        return UpdateOne(
            {"_id": self.id_of(partition), "bucket": partition, "$expr": {"$or": may_take}},
            [{"$set": {"token": stored}}],
        )

    def _new(self, partition: int, first: int) -> Document:
        return dict.fromkeys(COUNTS, 0) | {
            "role": self._role,
            "topic": self._role,
            "partition": partition,
            "first_offset": first,
            "next_offset": first,
            "claimed_to": first,
            "seen": pack_seen({}),
        }


def _has(document: Mapping[str, Any], token: Token) -> bool:
    return bool(document.get("token", {}).get("random") == token.random)


def _owned(document: Mapping[str, Any]) -> OwnedLedger:
    return OwnedLedger(
        document["partition"],
        document["next_offset"],
        document["claimed_to"],
        _unpack(document["seen"]),
        document.get("last_flush"),
        read_restored(document),
    )
