"""Stops asyncio tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_CANCEL_AGAIN_S: Final = 0.5


async def stop(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancel `tasks` and wait until all have ended. Their results and errors stay in them.

    Cancels again every 0.5 s: `asyncio.wait_for` of Python 3.11, which drivers use, can lose a cancellation (python/cpython#86296).
    """
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)
