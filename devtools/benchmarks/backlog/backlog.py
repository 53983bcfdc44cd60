"""The standard backlog: how much of it waits, and more of it whenever half is gone, so that the load stays full to the end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from devtools.workers import low_priority
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.errors import NotifyError
from notify_streams.outbox.ledger import Ledger
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from notify_streams.settings import Settings

TOPIC: Final = "triggers.payments"
_LOOK_EVERY_S: Final = 0.5


class Backlog:
    """``async with Backlog(settings, folder, size) as backlog: await backlog.fill(); await backlog.keep(until)``."""

    def __init__(self, settings: Settings, folder: Path, size: int) -> None:
        self._settings = settings
        self._environ = {**os.environ, "NOTIFY_STACK_DIR": str(folder)}
        self._size = size
        self._floods = 0
        self._topics = TopicReader(settings)
        self._shards = Shards(settings)
        self._ledger = Ledger(self._shards, "standard", 10.0)
        #: Triggers that waited when fewest did.
        self.least = size

    async def __aenter__(self) -> Self:
        await self._shards.start()
        await self._topics.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._topics.__aexit__(kind, error, trace)
        await self._shards.close()

    async def fill(self) -> None:
        """Add as many triggers as the backlog is to have; returns when Kafka has them."""
        await self._flood(self._size)

    async def keep(self, until: float) -> None:
        """Add half of it again whenever half is gone, until then (monotonic seconds)."""
        self.least = await self.waiting()
        while time.monotonic() < until:
            waiting = await self.waiting()
            self.least = min(self.least, waiting)
            if waiting < self._size / 2:
                await self._flood(self._size // 2)
            else:
                await asyncio.sleep(_LOOK_EVERY_S)

    async def waiting(self) -> int:
        """Records before the standard router's place."""
        return sum((await self._topics.ends(TOPIC)).values()) - await self.done()

    async def done(self) -> int:
        """Records behind the standard router's place."""
        places = [(TOPIC, partition) for partition in range(self._settings.partitions)]
        return sum((await self._ledger.positions(places)).values())

    async def _flood(self, count: int) -> None:
        self._floods += 1
        program = (sys.executable, "-m", "devtools.benchmarks.backlog.load_generator")
        process = await asyncio.create_subprocess_exec(
            *(*low_priority("standard"), *program, self._settings.region, str(count), f"{self._floods:04x}"),
            stdin=asyncio.subprocess.DEVNULL,
            env=self._environ,
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if status:
            raise NotifyError(f"the backlog could not be made: its process ended with {status}")
