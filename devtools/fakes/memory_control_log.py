"""A control log in memory; passes the same contract tests as the one in Kafka."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notify_streams.regions.failover.protocol import ControlRecord


async def _nothing() -> None:
    return


class MemoryControlLog:
    """See `failover.log.ControlLog`. Awaits `before` ahead of every operation, so that a test can choose their order."""

    def __init__(self, region: str, before: Callable[[], Awaitable[None]] = _nothing) -> None:
        self.region = region
        self.records: list[ControlRecord] = []
        self.away = False
        self._before = before
        self._appended = asyncio.Event()

    async def read(self, start: int = 0) -> tuple[list[ControlRecord], int]:
        await self._before()
        self._check_reachable()
        return self.records[start:], len(self.records)

    async def wait(self, start: int, timeout_s: float) -> None:
        self._check_reachable()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len(self.records) <= start:
                    self._appended.clear()
                    await self._appended.wait()

    async def append(self, record: ControlRecord) -> None:
        await self._before()
        self._check_reachable()
        self.records.append(record)
        self._appended.set()

    def _check_reachable(self) -> None:
        if self.away:
            raise RetryLater(f"region {self.region} does not answer")
