"""A control log in memory, which passes the same contract as Kafka's: for tests of whatever reads or writes control records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notify_streams.regions.failover.protocol import ControlRecord


async def _at_once() -> None:
    return


class MemoryControlLog:
    """See `control_log.ControlLog`. `before` is awaited ahead of every effect, so that a test can choose the order of effects."""

    def __init__(self, region: str, before: Callable[[], Awaitable[None]] = _at_once) -> None:
        self.region = region
        self.records: list[ControlRecord] = []
        self.away = False
        self._before = before

    async def read(self, start: int = 0) -> tuple[list[ControlRecord], int]:
        await self._before()
        self._answer()
        return self.records[start:], len(self.records)

    async def append(self, record: ControlRecord) -> None:
        await self._before()
        self._answer()
        self.records.append(record)

    def _answer(self) -> None:
        if self.away:
            raise RetryLater(f"region {self.region} does not answer")
