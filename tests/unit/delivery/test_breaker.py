"""The breaker opens when most calls fail, probes one at a time, and lets the rate return by doubling."""

import pytest

from notify_streams.delivery.breaker import (
    FIRST_OPEN_S,
    MAX_ASKED_S,
    MAX_OPEN_S,
    MIN_FAILURES,
    WINDOW_S,
    Breaker,
    BreakerState,
)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(MIN_FAILURES):
        breaker.failed(at)
    assert breaker.state(at) is BreakerState.OPEN
    return breaker


def test_it_is_closed_at_first() -> None:
    assert (Breaker().state(0.0), Breaker().limit(256, 0.0)) == (BreakerState.CLOSED, 256)


def test_a_few_failures_among_many_answers_do_not_open_it() -> None:
    breaker = Breaker()
    for number in range(200):
        breaker.failed(0.0) if number % 3 == 0 else breaker.succeeded(0.0)
    assert breaker.state(0.0) is BreakerState.CLOSED


def test_it_opens_when_half_of_the_last_calls_failed() -> None:
    breaker = Breaker()
    for number in range(40):
        breaker.failed(0.0) if number % 2 == 0 else breaker.succeeded(0.0)
    assert breaker.state(0.0) is BreakerState.OPEN and breaker.limit(256, 0.0) == 0


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker()
    for number in range(20):
        breaker.failed(number * WINDOW_S / (MIN_FAILURES - 1) * 1.01)
    assert breaker.state(20 * WINDOW_S) is BreakerState.CLOSED


def test_a_failed_probe_doubles_the_time() -> None:
    breaker, now, waited = opened(), 0.0, []
    for _ in range(6):
        assert breaker.open_until is not None
        waited.append(breaker.open_until - now)
        now = breaker.open_until
        assert (breaker.state(now), breaker.limit(256, now)) == (BreakerState.PROBING, 1)
        breaker.failed(now)
    assert waited == [1, 2, 4, 8, MAX_OPEN_S, MAX_OPEN_S]


def test_after_a_probe_the_rate_doubles_each_second_from_a_tenth() -> None:
    breaker = opened()
    now = FIRST_OPEN_S
    breaker.succeeded(now)
    assert [breaker.limit(100, now + seconds) for seconds in range(5)] == [10, 20, 40, 80, 100]
    assert breaker.state(now + 5) is BreakerState.CLOSED


def test_an_answer_from_before_it_opened_does_not_close_it() -> None:
    breaker = opened()
    breaker.succeeded(FIRST_OPEN_S / 2)
    assert breaker.state(FIRST_OPEN_S / 2) is BreakerState.OPEN


def test_it_stays_open_as_long_as_the_provider_asks_if_it_asks_twice_in_a_row() -> None:
    breaker = Breaker()
    breaker.failed(0.0, 30.0)
    assert breaker.state(0.0) is BreakerState.CLOSED, "one device or person may be meant"
    breaker.failed(0.1, 30.0)
    assert (breaker.state(29.0), breaker.open_until) == (BreakerState.OPEN, 30.1)


def test_a_provider_that_asks_for_hours_is_probed_after_some_minutes() -> None:
    breaker = Breaker()
    breaker.failed(0.0, 30_000.0)
    breaker.failed(0.0, 30_000.0)
    assert breaker.open_until == MAX_ASKED_S
    assert breaker.limit(100, MAX_ASKED_S) == 1
    breaker.failed(MAX_ASKED_S, 30_000.0)
    assert breaker.open_until == 2 * MAX_ASKED_S


def test_an_answer_between_them_says_that_only_some_are_throttled() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker.failed(0.0, 30.0)
        breaker.succeeded(0.0)
        breaker.succeeded(0.0)
    assert breaker.state(0.0) is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("now", "state"),
    [(FIRST_OPEN_S, BreakerState.RECOVERING), (FIRST_OPEN_S + 2 * WINDOW_S, BreakerState.CLOSED)],
    ids=["after the probe", "when those from before are forgotten"],
)
def test_failures_from_before_a_probe_do_not_open_it_again(now: float, state: BreakerState) -> None:
    breaker = opened()
    breaker.succeeded(FIRST_OPEN_S)
    for _ in range(MIN_FAILURES):
        assert breaker.state(now) is state
        breaker.failed(now)
    assert breaker.state(now) is BreakerState.OPEN


def test_after_a_probe_that_was_answered_it_opens_for_the_shortest_time_again() -> None:
    breaker = opened()
    breaker.failed(FIRST_OPEN_S)
    now = breaker.open_until
    assert now == 3 * FIRST_OPEN_S
    breaker.succeeded(now)
    for _ in range(MIN_FAILURES):
        breaker.failed(now)
    assert breaker.open_until == now + FIRST_OPEN_S


def test_a_provider_that_asks_for_less_later_is_not_called_sooner() -> None:
    breaker = Breaker()
    for seconds in (30.0, 30.0, 2.0):
        breaker.failed(0.0, seconds)
    assert breaker.open_until == 30.0


def test_it_is_open_for_the_time_until_the_next_probe() -> None:
    assert Breaker().open_for_s(5.0) == 0
    breaker = opened(5.0)
    assert [breaker.open_for_s(5.0 + passed) for passed in (0.0, 0.25, 1.0, 9.0)] == [1.0, 0.75, 0.0, 0.0]
