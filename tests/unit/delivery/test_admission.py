"""What is admitted: calls, budget, breaker, pause; retries get a share."""

import asyncio
import time
from collections.abc import Callable
from math import inf

import pytest

from notify_streams.delivery.admission import LEAST_AHEAD, Admission
from notify_streams.delivery.breaker import MIN_FAILURES
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder
from notify_streams.delivery.retry_delay import RETRY_DELAYS, RetryDelay
from notify_streams.records.devices import MAX_DEVICES
from tests.builders import AClient


def an_order(calls_per_s: float | None = None) -> ProviderOrder:
    return ProviderOrder([CalledProvider(AClient(), Budget(calls_per_s, time.monotonic()))])


def an_admission(calls_per_s: float | None = None) -> tuple[Admission, CalledProvider]:
    order = an_order(calls_per_s)
    return Admission(order, least_ahead=0), order.first


async def waits(admission: Admission, want: int = 1) -> bool:
    try:
        await asyncio.wait_for(admission.take(want), 0.05)
    except TimeoutError:
        return True
    return False


async def test_as_many_are_admitted_as_may_be_under_way() -> None:
    admission, _ = an_admission()
    assert await admission.take(20) == 8
    assert await waits(admission)
    admission.release(3)
    assert await admission.take(20) == 3


async def test_with_few_connections_more_are_checked_ahead_than_may_be_under_way() -> None:
    admission = Admission(an_order())
    assert await admission.take(500) == 8 + LEAST_AHEAD
    assert admission.calls(time.monotonic()) == 8 and await waits(admission)


async def test_those_that_wait_are_admitted_in_groups() -> None:
    admission, _ = an_admission()
    await admission.take(8)
    waiting = asyncio.create_task(admission.take(20))
    await asyncio.sleep(0)
    admission.release(1)
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.release(1)
    assert await waiting == 2


async def test_an_open_breaker_and_a_pause_admit_nothing() -> None:
    admission, provider = an_admission()
    provider.paused = True
    assert admission.held and await waits(admission)
    provider.paused = False
    for _ in range(MIN_FAILURES):
        provider.breaker.failed(time.monotonic())
    assert admission.held and await waits(admission)


async def test_a_probe_is_one_delivery() -> None:
    admission, provider = an_admission()
    for _ in range(MIN_FAILURES):
        provider.breaker.failed(time.monotonic() - 5)
    assert await admission.take(20) == 1
    assert await waits(admission)


async def test_retries_get_half_and_never_wait() -> None:
    admission, _ = an_admission()
    assert admission.take_retries(20) == 4
    assert admission.take_retries(20) == 0
    assert await admission.take(20) == 4
    admission.release(4, retry=True)
    assert admission.take_retries(1) == 1


async def test_while_no_provider_may_be_called_no_retry_is_admitted() -> None:
    admission, provider = an_admission()
    provider.paused = True
    assert admission.take_retries(20) == 0
    provider.paused = False
    for _ in range(MIN_FAILURES):
        provider.breaker.failed(time.monotonic())
    assert admission.take_retries(20) == 0


async def test_a_budget_limits_the_calls_a_second() -> None:
    admission, provider = an_admission(calls_per_s=16.0)
    budget = provider.budget
    now = time.monotonic()
    budget.set_share(0.5, now - 10)
    assert budget.available(now - 10) == 0
    assert budget.available(now) == 2, "unused calls of a quarter of a second"
    assert await admission.take(20) == 2
    assert await waits(admission)


@pytest.mark.parametrize("calls_per_s", [1, 10, 60, 200])
async def test_a_long_queue_is_admitted_under_a_small_budget(calls_per_s: float) -> None:
    """A quarter of the calls that may be under way would be more than the budget ever allows at once."""
    order = an_order(calls_per_s)
    order.first.budget.set_share(1.0, time.monotonic() - 1)
    order.first.budget.available(time.monotonic())
    assert await asyncio.wait_for(Admission(order).take(500), 1) == max(1, calls_per_s // 4)


def test_a_budget_without_a_share_lets_nothing_begin() -> None:
    budget = Budget(10.0, 0.0)
    assert (budget.available(5.0), budget.seconds_until(1, 5.0)) == (0, inf)


def test_no_limit_is_no_limit() -> None:
    budget = Budget(None, 0.0)
    budget.set_share(0.0, 0.0)
    assert (budget.available(0.0), budget.seconds_until(1000, 0.0)) == (inf, 0.0)


def test_the_debt_of_a_budget_is_that_of_messages_to_many_devices_at_most() -> None:
    budget = Budget(8.0, -10.0)
    budget.set_share(1.0, -10.0)
    assert budget.available(0.0) == 2
    budget.spend(2 * MAX_DEVICES)
    assert budget.available(0.0) == 2 - 2 * MAX_DEVICES, "each call counts"
    budget.spend(1000)
    assert budget.available(0.0) == -2 * MAX_DEVICES
    assert budget.seconds_until(1, 0.0) <= 3
    budget.set_share(0.1, 0.0)
    assert budget.available(0.0) == -MAX_DEVICES, "what a larger share owed"


DELAY = RetryDelay(first_s=10, factor=2, max_s=60, min_s=5, throttled_s=40)


@pytest.mark.parametrize(
    ("failures", "shortest", "longest"), [(1, 5, 10), (2, 5, 20), (3, 5, 40), (4, 5, 60), (99, 5, 60)]
)
def test_the_delay_grows_to_its_cap_and_is_spread_over_all_of_it(
    failures: int, shortest: float, longest: float
) -> None:
    assert DELAY.delay_s(failures, 0.0) == shortest
    assert DELAY.delay_s(failures, 1.0) == longest


def test_the_time_that_the_provider_asks_for_is_kept_whole() -> None:
    assert all(DELAY.delay_s(1, draw / 10, 3600.0) >= 3600 for draw in range(10))
    assert DELAY.delay_s(1, 0.0, throttled=True) == 40
    assert DELAY.delay_s(1, 0.0, 2.0, throttled=True) == 5


def test_a_push_waits_ten_seconds_at_least_and_a_minute_after_too_many_requests() -> None:
    for (_, channel), delay in RETRY_DELAYS.items():
        if channel == "push":
            assert delay.delay_s(1, 0.0) >= 10 and delay.delay_s(1, 0.0, throttled=True) >= 60


async def test_the_places_of_a_silent_shard_are_lent_to_others() -> None:
    admission, provider = an_admission()
    assert (admission.take_retries(20, shard=1), await admission.take(20, shard=1)) == (4, 4)
    admission.begin(provider, shard=1)
    assert await waits(admission)
    admission.lend(1)
    admission.lend(1)
    assert await admission.take(20) == 7, "all but the one that is called"
    assert admission.take_retries(1) == 0
    admission.release(2, retry=True, shard=1)
    admission.take_back(1)
    admission.take_back(1)
    admission.release(7)
    assert await admission.take(20) == 2, "5 of the shard wait or are called"
    admission.release(2)
    admission.release(begun=True, shard=1)
    admission.release(2, retry=True, shard=1)
    admission.release(3, shard=1)
    assert await admission.take(20) == 8


async def test_the_places_of_deliveries_that_are_suspended_are_given_to_others_until_they_go_on() -> None:
    admission, _ = an_admission()
    assert (admission.take_retries(20, shard=1), await admission.take(20, shard=1)) == (4, 4)
    assert await waits(admission)
    admission.suspend(8, 4, 1)
    assert await admission.take(20) == 8
    admission.resume(8, 4, 1)
    admission.release(8)
    assert await waits(admission), "those that went on have all places"
    assert admission.take_retries(1) == 0
    admission.release(4, shard=1)
    admission.release(4, retry=True, shard=1)
    assert await admission.take(20) == 8


@pytest.mark.parametrize("answers", [False, True])
async def test_places_may_be_lent_when_deliveries_are_suspended(answers: bool) -> None:
    admission, _ = an_admission()
    assert await admission.take(20, shard=1) == 8
    admission.lend(1)
    admission.suspend(4, 0, 1)
    if answers:
        admission.take_back(1)
    admission.resume(4, 0, 1)
    assert await waits(admission)
    admission.release(8, shard=1)
    assert await admission.take(20) == 8


async def test_a_delivery_of_a_lent_place_that_begins_takes_it_back() -> None:
    admission, provider = an_admission()
    assert await admission.take(20, shard=1) == 8
    admission.lend(1)
    admission.begin(provider, shard=1)
    assert await waits(admission)
    admission.not_begun(provider, 1, shard=1)
    admission.release(8, shard=1)
    assert await admission.take(20) == 8


async def test_a_place_is_lent_and_taken_back_with_its_share_of_the_retries() -> None:
    admission, _ = an_admission()
    assert admission.take_retries(20, shard=1) == 4
    admission.lend(1)
    assert admission.take_retries(20) == 4, "those of the silent shard are not counted"
    admission.release(2, retry=True, shard=1)
    admission.take_back(1)
    admission.release(4, retry=True)
    assert admission.take_retries(20) == 2, "2 of the shard have their places again"
    admission.release(2, retry=True, shard=1)
    admission.release(2, retry=True)
    assert admission.take_retries(20) == 4


async def test_suspended_retries_leave_their_share_to_others_until_they_go_on() -> None:
    admission, _ = an_admission()
    assert admission.take_retries(20, shard=1) == 4
    admission.suspend(2, 2, 1)
    admission.lend(1)
    assert admission.take_retries(20) == 4, "2 are suspended, the places of 2 are lent"
    admission.release(4, retry=True)
    admission.resume(2, 2, 1)
    assert admission.take_retries(20) == 0, "all 4 have their places again"
    admission.lend(1)
    assert admission.take_retries(20) == 4


async def test_a_call_that_was_not_made_waits_again() -> None:
    admission, provider = an_admission()
    assert (admission.take_retries(1, shard=1), await admission.take(1, shard=1)) == (1, 1)
    for retry in (False, True):
        admission.begin(provider, retry=retry, shard=1)
        admission.not_begun(provider, 1, retry=retry, shard=1)
    admission.lend(1)
    assert (admission.take_retries(20), await admission.take(20)) == (4, 4), "both places are lent"


async def test_a_call_that_was_not_made_takes_the_lent_places_of_its_shard_back() -> None:
    admission, provider = an_admission()
    assert await admission.take(2, shard=1) == 2
    admission.begin(provider, shard=1)
    admission.lend(1)
    admission.not_begun(provider, 1, shard=1)
    admission.release(2, shard=1)
    assert await admission.take(20) == 8


async def test_what_the_budget_has_paid_for_is_given_back_with_the_places() -> None:
    admission, provider = an_admission()
    paid = []
    assert await admission.take(4, shard=1) == 4
    changes: tuple[Callable[[], object], ...] = (
        lambda: admission.lend(1),
        lambda: admission.take_back(1),
        lambda: admission.suspend(3, 0, 1),
        lambda: admission.resume(3, 0, 1),
        lambda: admission.begin(provider, shard=1),
        lambda: admission.release(begun=True, shard=1),
        lambda: admission.release(3, shard=1),
    )
    for change in changes:
        change()
        paid.append(provider.reserved)
    assert paid == [0, 4, 1, 4, 3, 3, 0]


async def test_who_waits_for_an_open_breaker_goes_on_when_a_probe_is_due() -> None:
    """Nothing else happens then: no call ends while none is under way."""
    admission, provider = an_admission()
    for _ in range(MIN_FAILURES):
        provider.breaker.failed(time.monotonic() - 0.9)
    assert admission.held
    assert await asyncio.wait_for(admission.take(20), 10) == 1


async def test_who_waits_for_the_budget_goes_on_when_it_allows_a_call() -> None:
    admission, provider = an_admission(calls_per_s=20.0)
    provider.budget.set_share(1.0, time.monotonic())
    assert await asyncio.wait_for(admission.take(20), 10) >= 1
