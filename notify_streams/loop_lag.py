"""Measures how late the event loop is: `notify_event_loop_lag_seconds`."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from notify_streams import metrics, tasks

_EVERY_S: Final = 0.25


class LoopLag:
    """A task that sleeps, and observes how much longer than asked."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await tasks.stop([self._task])

    async def _run(self) -> None:
        while True:
            due = time.monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            metrics.LOOP_LAG.observe(max(0.0, time.monotonic() - due))
