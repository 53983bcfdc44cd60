"""Many questions at once cost few reads, and each is answered by a read that began after it was asked."""

import asyncio

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.grouped_reads import GroupedReads


class SlowShard:
    """Answers with the state at the beginning of the read."""

    def __init__(self):
        self.state = b"old"
        self.reads = []
        self.fails = False

    async def read(self, user_ids, buckets):
        self.reads.append((set(user_ids), set(buckets)))
        seen = self.state
        await asyncio.sleep(0.02)
        if self.fails:
            raise StoreUnavailable("gone")
        return dict.fromkeys(user_ids, seen)


async def test_what_is_asked_during_a_read_waits_for_the_next():
    shard = SlowShard()
    grouped = GroupedReads(shard.read)
    first = asyncio.create_task(grouped.rows(1, ["a"], 1))
    await asyncio.sleep(0.01)
    shard.state = b"new"
    later = [asyncio.create_task(grouped.rows(bucket, [user], 1)) for bucket, user in ((1, "a"), (2, "b"), (3, "a"))]
    assert (await first)["a"] == b"old"
    assert [(await answer)[user] for answer, user in zip(later, "aba", strict=True)] == [b"new"] * 3
    assert shard.reads == [({"a"}, {1}), ({"a", "b"}, {1, 2, 3})]


async def test_a_failed_read_fails_all_who_waited_for_it_and_no_other():
    shard = SlowShard()
    grouped = GroupedReads(shard.read)
    shard.fails = True
    failing = [asyncio.create_task(grouped.rows(1, [user], 1)) for user in "ab"]
    for answer in failing:
        with pytest.raises(StoreUnavailable):
            await answer
    shard.fails = False
    assert await grouped.rows(1, ["c"], 1) == {"c": b"old"}


async def test_who_cannot_wait_any_longer_does_not_disturb_the_others():
    grouped = GroupedReads(SlowShard().read)
    patient = asyncio.create_task(grouped.rows(1, ["a"], 1))
    with pytest.raises(StoreUnavailable, match=r"0\.001 s"):
        await grouped.rows(1, ["b"], 0.001)
    assert (await patient)["a"] == b"old"
