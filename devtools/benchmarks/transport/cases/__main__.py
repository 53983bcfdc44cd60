"""Runs one case: a `Task` as JSON in the first argument, a `TaskResult` on stdout.

Exits without stopping the clients: what is measured is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable

from devtools.benchmarks.transport.cases import copying, memory, reading, recovering
from devtools.benchmarks.transport.cases.task import Task, TaskResult

CASES: dict[str, Callable[[Task], Awaitable[TaskResult]]] = {
    "read aiokafka": reading.plain,
    "read batched": reading.batched,
    "read stock Faust": reading.stock,
    "copy aiokafka": copying.plain,
    "copy batched": copying.batched,
    "copy librdkafka": copying.librdkafka,
    "recover batched memory": recovering.batched_memory,
    "recover batched rocks": recovering.batched_rocks,
    "recover stock memory": recovering.stock_memory,
    "recover stock rocks": recovering.stock_rocks,
    "latency aiokafka": copying.plain,
    "latency batched": copying.batched,
    "memory region memory": memory.region_memory,
    "memory region rocks": memory.region_rocks,
    "memory preferences memory": memory.preferences_memory,
    "memory preferences rocks": memory.preferences_rocks,
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
