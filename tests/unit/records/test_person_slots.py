"""A person's notifications are found by the time from which they are kept."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.periods import end_of_period
from notify_streams.records.person_slots import bucket_ms, bucket_times, kept_from_ms, person_times

PERIODS = st.sampled_from([1, 2, 60, 3_600, 86_400])


@given(bucket=st.integers(0, 999), user=st.text(max_size=20), second=st.integers(10**9, 2 * 10**9), period_s=PERIODS)
def test_it_is_found_by_person_and_by_bucket_and_kept_for_a_period_more_at_most(
    bucket: int, user: str, second: int, period_s: int
) -> None:
    end = end_of_period(datetime.fromtimestamp(second, UTC), period_s)
    end_ms = int(end.timestamp()) * 1000
    kept_from = datetime.fromtimestamp(
        kept_from_ms(bucket_ms(bucket, end_ms, period_s), user.encode(), period_s) / 1000, UTC
    )
    assert end <= kept_from < end + timedelta(seconds=period_s)
    assert kept_from in person_times(user, bucket, second + 5, 5 * period_s, period_s)
    assert any(first <= kept_from < last for first, last in bucket_times(bucket, second, period_s))


@pytest.mark.parametrize("hours", [1, 24, 2_160])
def test_a_search_makes_one_look_for_each_period(hours: int) -> None:
    times = person_times("u-1", 3, 1_800_000_000, hours * 3_600, 3_600)
    assert len(times) == hours + 1 and times == sorted(times, reverse=True)
