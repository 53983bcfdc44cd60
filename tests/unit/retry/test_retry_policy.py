"""Retry policies: delays, limit, metric and log lines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams import metrics
from notify_streams.errors import PermanentFailure, RetryLater, StoreUnavailable, UnknownFailure
from notify_streams.retry import RetryPolicy, call_for_each, failing_calls
from tests.waiting import until


class Sleeps:
    """An injected sleep that returns at once and notes the delays."""

    def __init__(self) -> None:
        self.delays_s: list[float] = []

    async def __call__(self, delay_s: float) -> None:
        self.delays_s.append(delay_s)


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


def failing(*errors: Exception) -> Callable[[str], Awaitable[str]]:
    """A call that raises each of `errors` once and then returns its argument."""
    remaining = list(errors)

    async def call(text: str) -> str:
        if remaining:
            raise remaining.pop(0)
        return text

    return call


def retries_of(call: str) -> float:
    return metrics.REGISTRY.get_sample_value("notify_retries_total", {"call": call}) or 0.0


def actions(caplog: pytest.LogCaptureFixture) -> Sequence[object]:
    return [vars(record).get("action") for record in caplog.records]


@pytest.mark.parametrize(
    ("failures", "full_delay_s"),
    [(1, 0.1), (2, 0.2), (3, 0.4), (5, 1.6), (6, 2.0), (7, 2.0), (10_000, 2.0)],
)
def test_a_delay_doubles_up_to_the_maximum_and_at_most_half_of_it_is_random(failures: int, full_delay_s: float) -> None:
    policy = RetryPolicy("test.delay", first_s=0.1, max_s=2.0)
    assert policy.delay_s(failures, 0.0) == pytest.approx(full_delay_s / 2)
    assert policy.delay_s(failures, 0.999_999) == pytest.approx(full_delay_s, rel=1e-3)


@pytest.mark.parametrize(("failures", "retried"), [(1, True), (2, True), (3, False), (4, False)])
def test_there_is_no_delay_after_the_last_attempt(failures: int, retried: bool) -> None:
    delay_s = RetryPolicy("test.limit", first_s=0.1, max_s=2.0, max_attempts=3).delay_s(failures, 0.5)
    assert (delay_s is not None) is retried


async def test_a_call_is_repeated_with_growing_delays_until_it_succeeds(sleeps: Sleeps) -> None:
    policy = RetryPolicy("test.repeated", first_s=0.1, max_s=0.2, sleep=sleeps)
    call = failing(RetryLater("busy"), StoreUnavailable("silent"), RetryLater("busy"))
    before = retries_of("test.repeated")
    assert await policy.call(call, "done") == "done"
    assert len(sleeps.delays_s) == 3
    for delay_s, full_delay_s in zip(sleeps.delays_s, (0.1, 0.2, 0.2), strict=True):
        assert full_delay_s / 2 <= delay_s <= full_delay_s
    assert retries_of("test.repeated") - before == 3


async def test_the_last_error_is_raised_after_the_last_attempt(sleeps: Sleeps) -> None:
    policy = RetryPolicy("test.exhausted", first_s=0.1, max_s=1.0, max_attempts=2, sleep=sleeps)
    with pytest.raises(RetryLater, match="second"):
        await policy.call(failing(RetryLater("first"), RetryLater("second")), "done")
    assert len(sleeps.delays_s) == 1


async def test_any_other_error_is_raised_at_once(sleeps: Sleeps) -> None:
    policy = RetryPolicy("test.other", first_s=0.1, max_s=1.0, sleep=sleeps)
    with pytest.raises(ValueError, match="defect"):
        await policy.call(failing(ValueError("defect")), "done")
    assert sleeps.delays_s == [] and retries_of("test.other") == 0


async def test_one_log_line_when_a_call_begins_to_fail_and_one_when_it_succeeds(
    sleeps: Sleeps, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    attempts = RetryPolicy("test.logged", first_s=0.1, max_s=1.0, sleep=sleeps).attempts()
    for _ in range(2):
        for _ in range(3):
            await attempts.failed(RetryLater("busy"))
        attempts.succeeded()
        attempts.succeeded()
    assert actions(caplog) == ["retry.failing", "retry.recovered"] * 2
    assert {vars(record)["call"] for record in caplog.records} == {"test.logged"}
    # The second sequence starts with the first delay again.
    assert len(sleeps.delays_s) == 6 and sleeps.delays_s[3] <= 0.1


async def test_a_call_that_succeeds_at_once_logs_nothing(sleeps: Sleeps, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert await RetryPolicy("test.quiet", first_s=0.1, max_s=1.0, sleep=sleeps).call(failing(), "done") == "done"
    assert caplog.records == [] and sleeps.delays_s == []


async def test_a_named_policy_differs_in_its_name_alone(sleeps: Sleeps) -> None:
    policy = RetryPolicy("test", first_s=0.1, max_s=1.0, max_attempts=4, sleep=sleeps)
    assert policy.named("test.named") == RetryPolicy("test.named", 0.1, 1.0, 4, sleeps)


async def test_a_call_counts_as_failing_from_its_first_failure_until_it_succeeds(sleeps: Sleeps) -> None:
    attempts = RetryPolicy("test.failing", first_s=0.1, max_s=1.0, sleep=sleeps).attempts()
    assert "test.failing" not in failing_calls()
    await attempts.failed(RetryLater("busy"))
    first_s = failing_calls()["test.failing"]
    await attempts.failed(RetryLater("busy"))
    assert failing_calls()["test.failing"] >= first_s, "a later failure does not start the time anew"
    attempts.succeeded()
    assert "test.failing" not in failing_calls()


async def test_the_time_of_an_attempt_under_way_counts(sleeps: Sleeps) -> None:
    """A call to what answers nothing fails once in ten seconds, and is seen before."""
    answers, hangs = [RetryLater("no answer")], asyncio.Event()

    async def call() -> None:
        if answers:
            raise answers.pop()
        await hangs.wait()

    calling = asyncio.create_task(RetryPolicy("test.hanging", 0.1, 1.0, sleep=sleeps).call(call))
    await until(lambda: failing_calls().get("test.hanging", 0.0) > 0.05)
    hangs.set()
    await calling
    assert "test.hanging" not in failing_calls()


async def test_a_call_that_gave_up_or_was_cancelled_does_not_count_as_failing(sleeps: Sleeps) -> None:
    with pytest.raises(RetryLater):
        await RetryPolicy("test.gave_up", 0.1, 1.0, max_attempts=1, sleep=sleeps).call(failing(RetryLater("x")), "done")
    waiting = asyncio.create_task(RetryPolicy("test.cancelled", 60.0, 60.0).call(failing(RetryLater("x")), "done"))
    while "test.cancelled" not in failing_calls():
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    del waiting
    assert not {"test.gave_up", "test.cancelled"} & failing_calls().keys()


@given(st.lists(st.booleans(), max_size=20))
def test_what_can_never_be_written_is_found_and_the_rest_is_written_in_order(bad: list[bool]) -> None:
    written: list[int] = []
    refused: list[int] = []

    async def write(items: Sequence[int]) -> None:
        if any(bad[item] for item in items):
            raise PermanentFailure("refused")
        written.extend(items)

    policy = RetryPolicy("each", first_s=0.0, max_s=0.0, max_unknown_s=0.0)
    asyncio.run(call_for_each(policy, write, range(len(bad)), refused.append))
    assert written == [item for item, is_bad in enumerate(bad) if not is_bad]
    assert refused == [item for item, is_bad in enumerate(bad) if is_bad]


async def test_an_unknown_error_is_permanent_after_a_time_and_a_number_of_attempts() -> None:
    policy = RetryPolicy("unknown", first_s=0.0, max_s=0.0, max_unknown_s=0.0)
    errors: list[Exception] = [*[UnknownFailure("?")] * 4, StoreUnavailable("away"), *[UnknownFailure("?")] * 5]
    calls = len(errors)

    async def write() -> None:
        raise errors.pop(0)

    with pytest.raises(PermanentFailure):
        await policy.call(write)
    assert not errors and calls == 10, "an outage in between starts the count anew"


async def test_without_a_limit_a_permanent_error_is_an_outage_that_a_metric_shows() -> None:
    errors: list[Exception] = [PermanentFailure("refused")] * 7

    async def write() -> str:
        if errors:
            raise errors.pop()
        return "done"

    async def sleep(_: float) -> None:
        assert b'notify_retrying_seconds{call="held"}' in metrics.exposition()

    assert await RetryPolicy("held", first_s=0.0, max_s=0.0, sleep=sleep).call(write) == "done"
    assert b'notify_retrying_seconds{call="held"}' not in metrics.exposition()
