"""Keeps a standard backlog full."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from devtools import subprocesses
from devtools.benchmarks.region import environment
from devtools.benchmarks.router.load import TOPIC
from devtools.subprocesses import python_module
from devtools.workers import low_priority
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.outbox.ledger import Ledger
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from notify_streams.settings import Settings

_POLL_S: Final = 0.5


class Backlog:
    """``async with Backlog(settings, folder, size) as backlog: await backlog.fill(); await backlog.keep(until)``."""

    def __init__(self, settings: Settings, folder: Path, size: int) -> None:
        self._settings = settings
        self._environ = environment(folder)
        self._size = size
        self._runs = 0
        self._topics = TopicReader(settings)
        self._shards = Shards(settings)
        self._ledger = Ledger(self._shards, "standard", 10.0)
        #: The smallest backlog seen.
        self.least = size

    async def __aenter__(self) -> Self:
        await self._shards.start()
        await self._topics.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._topics.__aexit__()
        await self._shards.close()

    async def fill(self) -> None:
        """Add `size` triggers; returns when Kafka has them."""
        await self._add(self._size)

    async def keep(self, until: float) -> None:
        """Add half of `size` whenever less than half waits, until `until` (monotonic seconds)."""
        self.least = await self.waiting()
        while time.monotonic() < until:
            waiting = await self.waiting()
            self.least = min(self.least, waiting)
            if waiting < self._size / 2:
                await self._add(self._size // 2)
            else:
                await asyncio.sleep(_POLL_S)

    async def waiting(self) -> int:
        """Records that the standard router has not processed."""
        return sum((await self._topics.ends(TOPIC)).values()) - await self.done()

    async def done(self) -> int:
        """Records that the standard router has processed."""
        partitions = [(TOPIC, partition) for partition in range(self._settings.partitions)]
        return sum((await self._ledger.positions(partitions)).values())

    async def _add(self, count: int) -> None:
        self._runs += 1
        arguments = self._settings.region, str(count), f"{self._runs:04x}"
        command = python_module("devtools.benchmarks.backlog.load_generator", *arguments)
        await subprocesses.run((*low_priority("standard"), *command), env=self._environ)
