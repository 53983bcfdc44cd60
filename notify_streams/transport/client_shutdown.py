"""Stops aiokafka clients in bounded time, whatever state they are in.

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
            await asyncio.wait([asyncio.ensure_future(_close(consumer._client))], timeout=timeout_s)


async def abort_connections(client: Any, timeout_s: float) -> None:
    """Close the connections of an aiokafka client without writing what they have buffered, which a broker may never read."""
    for connection in client._conns.values():
        if connection._writer is not None:
            connection._writer.transport.abort()
    await asyncio.wait([asyncio.ensure_future(_close(client))], timeout=timeout_s)


async def _close(client: Any) -> None:
    # A `stop` that was cancelled while it waited for a connection's end has cancelled that end for all who wait for it later.
    with suppress(KafkaError, OSError, asyncio.CancelledError):
        await client.close()


def is_cancelled() -> bool:
    """Whether the running task is being cancelled. False if only a client's future that it awaited was."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
