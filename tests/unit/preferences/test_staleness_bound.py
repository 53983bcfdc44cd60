"""The times that keep the bound add up, whatever the settings."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.errors import SettingsError
from notify_streams.preferences.staleness_bound import staleness_bound_of
from notify_streams.settings import PreferenceSettings


@given(st.floats(0.1, 60), st.floats(10, 3_600), st.floats(0.01, 0.7))
def test_a_lease_and_a_check_together_stay_below_the_bound(bound_s: Any, ttl_s: Any, cached: Any) -> None:
    preferences = PreferenceSettings(bound_s=bound_s, delta_ttl_s=ttl_s, cache_ttl_s=ttl_s * cached)
    bound = staleness_bound_of(preferences)
    assert bound.lease_s + bound.good_s <= 0.9 * bound_s
    # What the table and the cache may lack is still in the deltas.
    assert bound.cache_ttl_s + bound.table_lag_s < ttl_s
    # What a decision by the table alone lacked is in the deltas for as long as its messages count as young.
    assert bound.young_s + bound.table_only_lag_s < ttl_s


def test_a_cache_that_remembers_for_longer_than_deltas_live_is_refused() -> None:
    with pytest.raises(SettingsError, match="cache_ttl_s"):
        staleness_bound_of(PreferenceSettings(cache_ttl_s=300, delta_ttl_s=300))
