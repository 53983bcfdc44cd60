"""Runs one case: a `Task` as JSON in the first argument, a `TaskResult` on stdout.

Exits without stopping the clients: what is measured is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from devtools.benchmarks.transport.cases import copying, memory, reading, recovering
from devtools.benchmarks.transport.cases.task import Task, TaskResult
from notify_streams.transport import in_memory, on_disk


def _disk() -> Any:
    return on_disk(Path(tempfile.mkdtemp(prefix="bench-")) / "table")


CASES: dict[str, Callable[[Task], Awaitable[TaskResult]]] = {
    "read aiokafka": reading.plain,
    "read batched": reading.batched,
    "read stock Faust": reading.stock,
    "copy aiokafka": copying.plain,
    "copy batched": copying.batched,
    "copy librdkafka": copying.librdkafka,
    "recover batched memory": partial(recovering.batched, store=in_memory),
    "recover batched disk": lambda task: recovering.batched(task, _disk()),
    "recover stock memory": partial(recovering.stock, store="memory://"),
    "recover stock rocks": partial(recovering.stock, store="rocksdb://?driver=rocksdict"),
    "latency aiokafka": copying.plain,
    "latency batched": copying.batched,
    "memory region memory": partial(memory.load, store=in_memory, decode=memory.decode_region),
    "memory region disk": lambda task: memory.load(task, _disk(), memory.decode_region),
    "memory preferences memory": partial(memory.load, store=in_memory, decode=memory.decode_preferences),
    "memory preferences disk": lambda task: memory.load(task, _disk(), memory.decode_preferences),
}


async def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    result = await CASES[task.case](task)
    print(result.line(), flush=True)


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
    os._exit(0)
