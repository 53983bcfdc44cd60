"""Lists of millions hold what they show and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from notify_streams.admin.dead_letters import DeadLetter
from notify_streams.admin.deliveries import FoundDelivery
from notify_streams.cli.dead_letters import newest
from notify_streams.cli.deliveries import first

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def a_letter(number: int) -> DeadLetter:
    at = NOON + timedelta(seconds=number % 50)
    why = {"reason": "invalid", "detail": "", "topic": "triggers.payments", "partition": "0", "offset": str(number)}
    return DeadLetter(number % 3, number, at, why, b"u-1", b"{}", (("a", b"b"),))


@pytest.mark.parametrize("limit", [1, 4, 100, 1000])
async def test_the_newest_dead_letters_are_listed_by_time(limit: int) -> None:
    letters = [a_letter(number) for number in range(100)]

    async def read() -> AsyncIterator[DeadLetter]:
        for letter in letters:
            yield letter

    count, shown = await newest(read(), limit)
    by_time = sorted(letters, key=lambda one: (one.at, one.partition, one.offset))
    assert count == 100 and [one.place for one in shown] == [one.place for one in by_time[-limit:]]


async def test_no_value_of_a_dead_letter_is_kept_for_the_list() -> None:
    async def read() -> AsyncIterator[DeadLetter]:
        for number in range(300):
            yield a_letter(number)

    count, shown = await newest(read(), 100)
    assert (count, len(shown)) == (300, 100)
    assert {(one.key, one.value, tuple(one.headers)) for one in shown} == {(None, None, ())}


async def test_no_more_deliveries_are_kept_than_are_shown() -> None:
    async def read() -> AsyncIterator[FoundDelivery]:
        for number in range(1000):
            yield FoundDelivery(f"d-{number}", "push", 0, "payments", NOON, "failed", None, None, None, 1, False, None)

    count, shown = await first(read(), 2)
    assert count == 1000 and [one.id for one in shown] == ["d-0", "d-1"]
