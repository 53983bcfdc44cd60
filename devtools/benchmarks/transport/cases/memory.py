"""Memory cases: a replicated table with a million rows.

The result is the growth of the process from before the app's start until the table has caught up, everything included.
"""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

from devtools.benchmarks.transport.cases.task import Task, TaskResult, an_app
from notify_streams.transport import ReplicatedTable

_REGIONS = {region: region for region in (b"us", b"eu", b"asia")}


def decode_region(key: bytes, value: bytes | None, partition: int) -> tuple[bytes, Any]:
    """Rows of the same region share one object."""
    return key, _REGIONS.get(value) if value is not None else None


def decode_preferences(key: bytes, value: bytes | None, partition: int) -> tuple[bytes, Any]:
    """Preference rows stay bytes."""
    return key, value


async def load(task: Task, store: Any, decode: Any) -> TaskResult:
    app = an_app(task, "batched")
    table = ReplicatedTable(app, task.source, store=store, decode=decode)
    app.finalize()
    gc.collect()
    before, began = _rss_mb(), time.perf_counter()
    await app.start()
    await table.wait_until_caught_up()
    seconds = time.perf_counter() - began
    await asyncio.sleep(0.2)
    gc.collect()
    return TaskResult(table.progress().rows, seconds, _rss_mb() - before)


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS: cannot measure memory here")
