"""Recovery cases: a changelog with one record a key, read into an empty table.

Timed from the start of the reading to the last key.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from devtools.benchmarks.transport.cases.task import Task, TaskResult, an_app
from devtools.benchmarks.transport.topics import partitions
from notify_streams.transport import PartitionedTable, batched_topic


async def batched(task: Task, store: Any) -> TaskResult:
    """The partitioned table, in memory or on disk."""
    app = an_app(task, "batched")
    table = PartitionedTable(app, task.source, store=store)

    @app.agent(batched_topic(app, task.target))
    async def idle(stream) -> None:  # type: ignore[no-untyped-def]
        async for event in stream.noack().events():
            event.ack()

    app.finalize()
    await app.start()
    while len(table.partitions) < partitions():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    progress = table.progress()
    found = [table.get(p, b"u%d" % n) for p, n in ((0, 0), (0, 4999)) if n < task.records]
    if None in found:
        raise RuntimeError(f"rows are missing: {found}")
    return TaskResult(progress.rows, progress.rows / progress.rows_per_s)


async def stock(task: Task, store: str) -> TaskResult:
    """Faust's table, in memory or on RocksDB."""
    app = an_app(task, "kafka", store=store)
    done, began = asyncio.Event(), 0.0

    async def first(event: Any) -> None:
        nonlocal began
        began = began or time.perf_counter()

    async def recovered() -> None:
        if len(app.assignor.assigned_actives()):
            done.set()

    table = app.Table(
        task.table_name,
        partitions=partitions(),
        key_type=bytes,
        value_type=bytes,
        on_changelog_event=first,
        on_recover=recovered,
    )

    @app.agent(app.topic(task.target, value_serializer="raw"))
    async def idle(stream) -> None:  # type: ignore[no-untyped-def]
        async for _ in stream:
            pass

    app.finalize()
    await app.start()
    await done.wait()
    seconds = time.perf_counter() - began
    return TaskResult(len(table), seconds)
