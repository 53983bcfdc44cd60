"""The lag is the age of the oldest change in hand, and nothing in hand is no lag."""

from notify_streams.preferences.table_lag import TableLag


def test_the_oldest_batch_in_hand_tells_the_lag() -> None:
    now = [1_000.0]
    lag = TableLag(lambda: now[0])
    assert lag() == 0
    lag.started(3, 990_000)
    lag.started(5, 940_000)
    assert lag() == 60
    now[0] += 5
    assert lag() == 65
    lag.finished(5)
    assert lag() == 15
    lag.finished(3)
    lag.finished(3)
    assert lag() == 0


def test_a_record_from_the_future_is_not_ahead_of_the_table() -> None:
    lag = TableLag(lambda: 1_000.0)
    lag.started(0, 2_000_000)
    assert lag() == 0


def test_what_was_given_up_is_no_lag() -> None:
    lag = TableLag(lambda: 1_000.0)
    lag.started(0, 1)
    lag.reset()
    assert lag() == 0
