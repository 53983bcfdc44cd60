"""Several workers of the role views agree about a region's problems, though the clock of one is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from notify_streams.web.verdict.history import ProblemHistory
from notify_streams.web.verdict.history_store import HistoryStore
from notify_streams.web.verdict.problem import FoundProblem, ProblemCode

START_S = 1_800_000_000.0
HOUR_S = 3600.0
FOUND = [FoundProblem(ProblemCode.WORKER_GONE, "push 1", "It is gone.")]


class Redis:
    """Hashes, without an end; as its own pipeline."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[bytes, bytes]] = {}

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        return dict(self.hashes.get(key, {}))

    def pipeline(self, transaction: bool) -> Redis:
        return self

    async def __aenter__(self) -> Redis:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def hset(self, key: str, name: bytes, value: bytes) -> None:
        self.hashes.setdefault(key, {})[name] = value

    def expire(self, key: str, seconds: int) -> None: ...

    def hdel(self, key: str, *names: Any) -> Removed:
        for name in names:
            self.hashes.get(key, {}).pop(name, None)
        return Removed()

    def hlen(self, key: str) -> None: ...

    async def execute(self) -> list[int]:
        return [0]


class Removed:
    """Awaited, or part of a pipeline."""

    def __await__(self) -> Any:
        return iter(())


@pytest.mark.parametrize("ahead_s", [-24 * HOUR_S, -2 * HOUR_S, 0.0, 60.0, 2 * HOUR_S, 24 * HOUR_S], ids=str)
async def test_a_problem_that_ended_is_not_kept_by_a_clock_that_is_ahead(ahead_s: float) -> None:
    redis: Any = Redis()
    right, wrong = ProblemHistory(), ProblemHistory()
    stores = HistoryStore(redis, "us", "right"), HistoryStore(redis, "us", "wrong")
    present: list[list[str]] = []
    for look in range(20):
        now = START_S + 5 * look
        found = FOUND if look < 10 else []
        for history, store, at in ((right, stores[0], now), (wrong, stores[1], now + ahead_s)):
            history.observe(at, found)
            await store.exchange(history, {}, at)
        present.append([one.about for one in right.verdict(now).now])
    assert present[5] == present[9] == ["push 1"]
    assert present[14:] == [[]] * 6, "it ended 20 s before"
