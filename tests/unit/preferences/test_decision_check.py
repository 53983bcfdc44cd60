"""The rows that a decision gets: the newest of cache, table and delta."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.preferences.decision_check import DecisionCheck
from notify_streams.preferences.row_codec import EMPTY_ROW, encode_row, version_of
from notify_streams.preferences.staleness_bound import staleness_bound_of
from notify_streams.settings import PreferenceSettings

USERS = ["a", "b", "c"]
VERSIONS = st.dictionaries(st.sampled_from(USERS), st.integers(1, 300))


def rows(versions: Any) -> Any:
    return {user: encode_row(version, {1: {"push": False}}) for user, version in versions.items()}


class Given:
    """A Redis, a durable record and a table that hold what the test gives them."""

    def __init__(self, deltas: Any = None, durable: Any = None, table: Any = None) -> None:
        self.deltas, self.durable, self.table = deltas, durable, table or {}
        self.lag_s = 0.0
        self.table_reads = 0
        self.held = {0, 1}

    async def read(self, user_ids: Any) -> Any:
        return None if self.deltas is None else [self.deltas.get(user) for user in user_ids]

    async def rows(self, bucket: Any, user_ids: Any) -> Any:
        if self.durable is None:
            raise StoreUnavailable("no answer")
        return {user: self.durable[user] for user in user_ids if user in self.durable}

    def read_table(self, bucket: Any, user_ids: Any) -> Any:
        self.table_reads += len(user_ids)
        return [self.table.get(user.decode()) for user in user_ids] if bucket == 0 else [None] * len(user_ids)

    def check(self) -> Any:
        stores: Any = self
        return DecisionCheck(
            stores,
            stores,
            staleness_bound_of(PreferenceSettings()),
            self.read_table,
            lambda: self.lag_s,
            has_bucket=lambda bucket: bucket in self.held,
        )


@given(VERSIONS, VERSIONS, VERSIONS, st.lists(st.sampled_from(USERS), min_size=1))
@settings(max_examples=60)
async def test_neither_cache_nor_table_hides_a_newer_delta(old_table: Any, table: Any, deltas: Any, asked: Any) -> None:
    given_ = Given(deltas={}, table=rows(old_table))
    check = given_.check()
    await check.rows_for(0, USERS)  # now the old table is cached
    given_.table, given_.deltas = rows(table), rows(deltas)
    found = await check.rows_for(0, asked)
    assert [version_of(row) for row in found] == [max(old_table.get(u, 0), deltas.get(u, 0)) for u in asked]


async def test_a_person_is_asked_for_once_a_batch_and_remembered() -> None:
    given_ = Given(deltas={}, table=rows({"a": 1}))
    check = given_.check()
    assert await check.rows_for(0, ["a", "b", "a"]) == [rows({"a": 1})["a"], EMPTY_ROW, rows({"a": 1})["a"]]
    await check.rows_for(0, ["b", "a"])
    assert given_.table_reads == 2


async def test_what_a_batch_of_before_a_rebalance_does_not_find_hides_no_choice_when_the_bucket_comes_back() -> None:
    given_ = Given(deltas={}, table=rows({"a": 1}))
    check = given_.check()
    kept = given_.table
    given_.held, given_.table = {1}, {}  # the bucket went to another worker, and its rows were released
    assert await check.rows_for(0, ["a"]) == [EMPTY_ROW]
    given_.held, given_.table = {0, 1}, kept
    assert await check.rows_for(0, ["a"]) == [rows({"a": 1})["a"]]


async def test_the_cache_of_a_bucket_that_went_to_another_worker_is_dropped() -> None:
    given_ = Given(deltas={}, table=rows({"a": 1}))
    check = given_.check()
    await check.rows_for(0, ["a"])
    given_.held = {1}
    await check.rows_for(1, ["b"])
    assert check._caches.keys() == {1}


async def test_a_look_up_in_a_foreign_bucket_hides_no_choice() -> None:
    """A trigger in a wrong partition: the table has the person's row in another one only."""
    check = Given(deltas={}, table=rows({"a": 1})).check()
    assert await check.rows_for(1, ["a"]) == [EMPTY_ROW]
    assert await check.rows_for(0, ["a"]) == [rows({"a": 1})["a"]]


async def test_without_redis_the_table_is_read_and_not_the_cache() -> None:
    given_ = Given(deltas={}, durable={}, table=rows({"a": 1}))
    check = given_.check()
    await check.rows_for(0, ["a"])
    given_.deltas, given_.table = None, rows({"a": 2})
    assert version_of((await check.rows_for(0, ["a"]))[0]) == 2
    assert given_.table_reads == 2


async def test_without_redis_the_durable_record_knows_what_the_table_lacks() -> None:
    check = Given(durable=rows({"a": 5}), table=rows({"a": 4})).check()
    assert version_of((await check.rows_for(0, ["a"]))[0]) == 5


async def test_a_table_too_far_behind_is_not_trusted_although_redis_is() -> None:
    given_ = Given(deltas={}, durable=rows({"a": 5}), table=rows({"a": 4}))
    given_.lag_s = staleness_bound_of(PreferenceSettings()).table_lag_s + 1
    assert version_of((await given_.check().rows_for(0, ["a"]))[0]) == 5


async def test_with_the_table_alone_decisions_go_on_while_it_is_not_far_behind() -> None:
    given_ = Given(table=rows({"a": 4}))
    check = given_.check()
    assert version_of((await check.rows_for(0, ["a"]))[0]) == 4
    assert check.table_only == 1
    given_.lag_s = staleness_bound_of(PreferenceSettings()).table_only_lag_s + 1
    with pytest.raises(RetryLater):
        await check.rows_for(0, ["a"])
