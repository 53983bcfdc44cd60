"""A table of which every worker has all rows.

Read without a consumer group, so that neither a rebalance nor a dead worker delays an update. Not written here.
"""

from __future__ import annotations

import asyncio

from faust.types import TP, AppT

from notify_streams.transport.app_state import on_assigned
from notify_streams.transport.tables.changelog_table import ChangelogTable
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.store import Decode, StoreFactory, decode_raw


class ReplicatedTable(ChangelogTable):
    """Rows by partition and key."""

    def __init__(
        self,
        app: AppT,
        topic: str,
        *,
        store: StoreFactory = in_memory,
        decode: Decode = decode_raw,
        required: bool = True,
    ) -> None:
        """
        Args:
            topic: must exist when the app starts.
            required: start the app's source partitions only after the table has caught up.
        """
        super().__init__(app, topic, store, decode)
        self._caught_up: asyncio.Future[None] | None = None
        if required:
            on_assigned(app, self._hold_partitions)

    async def wait_until_caught_up(self) -> None:
        """Wait until the table has everything that was in the topic when the app started."""
        if self._caught_up is None:
            raise RuntimeError(f"table {self.name} is not open: start the app first")
        await asyncio.shield(self._caught_up)

    async def _start(self) -> None:
        partitions = await self._follow()
        self._caught_up = asyncio.ensure_future(self.follower.catch_up(partitions))

    async def _stop(self) -> None:
        if self._caught_up is not None:
            self._caught_up.cancel()
        self._caught_up = None
        await super()._stop()

    async def _hold_partitions(self, tps: frozenset[TP]) -> None:
        await self.wait_until_caught_up()
