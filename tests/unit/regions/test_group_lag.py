"""The lag of a consumer group, from the offsets of its partitions."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from notify_streams.regions.consumer_groups import group_lag


@pytest.mark.parametrize(
    ("first", "end", "committed", "lag"),
    [
        pytest.param(0, 10, 4, 6, id="behind"),
        pytest.param(0, 10, 10, 0, id="at the end"),
        pytest.param(3, 10, None, 7, id="nothing committed"),
        pytest.param(3, 10, -1, 7, id="Kafka says that nothing was committed"),
        pytest.param(8, 10, 4, 2, id="retention deleted what was not read"),
        pytest.param(0, 10, 12, 0, id="committed past an end that was read before"),
        pytest.param(7, 7, None, 0, id="empty"),
    ],
)
def test_the_lag_of_a_partition(first: int, end: int, committed: int | None, lag: int) -> None:
    one, other = TopicPartition("t", 0), TopicPartition("t", 1)
    known = {} if committed is None else {one: committed}
    assert group_lag({one: first}, {one: end}, known) == lag
    assert group_lag({one: first, other: 5}, {one: end, other: 8}, {**known, other: 6}) == lag + 2
