"""Quantiles that were measured, and sending that does not wait for what is slow."""

import asyncio
import time

import pytest

from devtools.load.open_loop import at_rate
from devtools.percentiles import percentiles_of
from notify_streams.errors import NotifyError


def test_quantiles_are_the_nearest_ranks_of_what_was_measured() -> None:
    found = percentiles_of([number / 1000 for number in range(200, 0, -1)])
    assert (found.count, found.p50, found.p90, found.p99, found.max) == (200, 100, 180, 198, 200)


def test_a_single_value_is_every_quantile() -> None:
    found = percentiles_of([0.0071])
    assert (found.p50, found.p99, found.max) == (7.1, 7.1, 7.1)


def test_nothing_makes_no_figure() -> None:
    with pytest.raises(NotifyError, match="no figure"):
        percentiles_of([])


async def test_a_call_that_hangs_delays_no_other() -> None:
    begun, all_begun = [], asyncio.Event()

    async def act(number: int, due: float) -> None:
        begun.append(number)
        if len(begun) == 5:
            all_begun.set()
        await all_begun.wait()  # the first four end only after the fifth has begun

    await asyncio.wait_for(at_rate(5, 0.001, act), 5)
    assert begun == [0, 1, 2, 3, 4]


async def test_the_schedule_does_not_move_when_the_sender_was_late() -> None:
    dues = []

    async def act(number: int, due: float) -> None:
        dues.append(due)
        if number == 0:
            time.sleep(0.05)  # noqa: ASYNC251 - the loop itself stands still

    await at_rate(4, 0.01, act)
    assert [round(due - dues[0], 6) for due in dues] == [0, 0.01, 0.02, 0.03]


async def test_the_first_failure_is_what_is_raised() -> None:
    async def act(number: int, due: float) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        await at_rate(1, 0.001, act)
