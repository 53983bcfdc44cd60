"""Rows are remembered for no longer and in no greater number than agreed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from notify_streams.preferences.row_cache import RowCache

STEPS = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 9)), max_size=60)


@given(STEPS)
def test_no_row_is_older_than_its_time(steps: Any) -> None:
    cache, now, put_at = RowCache(ttl_s=60), 1_000.0, {}
    for pause, user in steps:
        now += pause
        cache.expire(now)
        if cache.get(str(user)) is None:
            cache.put(str(user), b"row")
            put_at[user] = now
        assert now - put_at[user] <= 60


@given(st.lists(st.integers(0, 500), max_size=400))
def test_it_never_holds_more_than_its_limit(users: Any) -> None:
    cache = RowCache(ttl_s=60, limit=20)
    for user in users:
        cache.expire(1.0)
        if cache.get(str(user)) is None:
            cache.put(str(user), b"row")
        assert len(cache) <= 20


def test_a_row_is_remembered_for_at_least_half_its_time() -> None:
    cache = RowCache(ttl_s=60)
    cache.expire(0.0)
    cache.put("u", b"row")
    cache.expire(29.0)
    assert cache.get("u") == b"row"
    cache.expire(31.0)
    assert cache.get("u") == b"row"
    cache.expire(61.0)
    assert cache.get("u") is None


def test_nothing_survives_a_long_silence() -> None:
    cache = RowCache(ttl_s=60)
    cache.expire(0.0)
    cache.put("u", b"row")
    cache.expire(500.0)
    assert cache.get("u") is None
