"""Stops aiokafka consumers in bounded time, whatever state they are in.

aiokafka 0.14.0 cancels a fetch that pauses after a failure, and raises that cancellation from its own `stop`, before it closes the
connections. Passed on, it would silently end a task that only wanted to reconnect.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError


async def stop_consumer(consumer: Any, timeout_s: float) -> None:
    """Stop an aiokafka consumer and close its connections, also if this call is cancelled. The consumer's errors are ignored."""
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait([stopping], timeout=timeout_s)
    finally:
        if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
            stopping.cancel()
            with suppress(KafkaError, OSError):
                await consumer._client.close()


def is_cancelled() -> bool:
    """Whether the running task is being cancelled. False if only a client's future that it awaited was."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
