"""Erased persons: nothing is sent to them, no record brings them back.

While an erasure is under way, the person's preference record says so (`ERASED_NUMBER`), and with it the delta: every check sees it. Later
only the document of the erasure is left, under a keyed hash. Then no message of the person is younger than a delta lives, so every check
of one reads the preference record, finds none, and asks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.preferences.choices import ChoiceChange
from notify_streams.preferences.deltas import make_visible
from notify_streams.preferences.row_codec import cached_decode_row, encode_row
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.person_hash import person_hash
from notify_streams.roles import CHANNELS
from notify_streams.stores.mongo import ERASURES, PREFERENCES
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from notify_streams.preferences.choices import PreferenceRecord
    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.repository import PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound
    from notify_streams.stores.mongo import Shards

#: In place of a category's number: the person is erased.
ERASED_NUMBER: Final = 243
#: The row of an erased person, newer than any other.
ERASED_ROW: Final = encode_row(2**62, {ERASED_NUMBER: dict.fromkeys(CHANNELS, False)})


def is_erased(row: bytes) -> bool:
    """Whether the person with this row is erased."""
    return ERASED_NUMBER in cached_decode_row(row)[1]


class ErasedUsers:
    """Writes and reads that persons are erased. Every method raises `StoreUnavailable` if a shard does not answer."""

    def __init__(
        self,
        shards: Shards,
        repository: PreferenceRepository,
        deltas: Deltas,
        bound: StalenessBound,
        key: bytes | None,
        timeout_s: float,
    ) -> None:
        """`key`: `public.address_key`; without it no person can be erased."""
        self._shards = shards
        self._repository = repository
        self._deltas = deltas
        self._bound = bound
        self._key = key
        self._timeout_s = timeout_s

    async def among(self, buckets: Mapping[str, int]) -> set[str]:
        """Which of these users (user id → bucket) are erased, or about to be."""
        if self._key is None or not buckets:
            return set()
        persons: dict[str, str] = {}
        by_shard: dict[int, tuple[set[str], set[int]]] = {}
        for user_id, bucket in buckets.items():
            persons[person := person_hash(self._key, user_id)] = user_id
            # The document of an erasure that has ended has no user id, so it stays where it is when the region grows.
            for one in (bucket, *self._shards.directory.former_buckets(bucket)):
                ids, places = by_shard.setdefault(self._shards.of(one), (set(), set()))
                ids.add(person)
                places.add(one)
        erased: set[str] = set()
        for shard, (ids, places) in by_shard.items():
            wanted = {"_id": {"$in": sorted(ids)}, "bucket": {"$in": sorted(places)}}
            with mongo_call("erased users", self._timeout_s):
                found = await self._shards.database(shard)[ERASURES].find(wanted, {"_id": 1}).to_list()
            erased.update(persons[one["_id"]] for one in found)
        return erased

    async def record_of(self, user_id: str, bucket: int) -> PreferenceRecord:
        """The person's choices."""
        return await self._repository.read(bucket, user_id)

    async def refuse_all(self, user_id: str, bucket: int, at: datetime) -> None:
        """Return when every check that begins from now on refuses to send to this person (as `PreferenceWriter.put`)."""
        changes = [
            (bucket, user_id, ChoiceChange(ERASED_NUMBER, channel, False, at, source=ChoiceSource.ERASURE))
            for channel in CHANNELS
        ]
        record = (await self._repository.apply(changes))[user_id]
        await make_visible(self._deltas, self._bound, {user_id: record.row()})

    async def forget(self, user_id: str, bucket: int) -> None:
        """Remove the person's preference record and delta. Only when no message of theirs is younger than a delta lives."""
        with mongo_call("preference records", self._timeout_s):
            await self._shards.collection(PREFERENCES, bucket).delete_one({"_id": user_id, "bucket": bucket})
        await self._deltas.delete(user_id)
