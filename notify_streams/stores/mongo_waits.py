"""Waits of the MongoDB driver: a cancelled call cannot lock its client.

The driver waits with `asyncio.wait_for`, which in Python 3.11 runs the wait as a task of its own. A call that is cancelled while such a wait
times out goes on without that task: it releases the lock that another call holds, whose own release then fails, and the task takes the lock.
Every later operation of the client then waits without a limit, and so does its `close`: a worker said that a shard is away long after it
was back, and did not end. It happens while a shard does not answer, when calls wait for it and time-outs cancel them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

from pymongo.asynchronous import pool, topology

if TYPE_CHECKING:
    from pymongo._asyncio_lock import Condition

#: The driver's name of the function, in each module that waits.
_NAME: Final = "_async_cond_wait"
WAITING_MODULES: Final = (topology, pool)


def mend_waits() -> None:
    """Let the driver of this process wait as `wait_for_condition` does.

    `asyncio.wait_for` of Python 3.12 has no task of its own.
    """
    if sys.version_info < (3, 12):
        for module in WAITING_MODULES:
            setattr(module, _NAME, wait_for_condition)


async def wait_for_condition(condition: Condition, timeout: float | None) -> bool:  # noqa: ASYNC109 - called by the driver
    """Whether the condition was notified in time.

    The caller holds its lock, then and at the end, however the call ends.
    """
    try:
        async with asyncio.timeout(timeout):
            return await condition.wait()
    except TimeoutError:
        return False
