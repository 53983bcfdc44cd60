"""Faust's services without their fixed waits.

These took two seconds of each restart of a worker.
"""

from __future__ import annotations

import asyncio

import faust
from faust.tables.manager import TableManager


class PromptTableManager(TableManager):
    """Faust's waits a second for tables that are created late. Here all modules were imported before the app starts."""

    async def on_start(self) -> None:
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class PromptWorker(faust.Worker):
    """Faust's runs the event loop for one more second after everything has stopped."""

    async def _sentinel_task(self) -> None:
        await asyncio.sleep(0)  # callbacks of what was closed last
