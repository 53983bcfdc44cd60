"""How clients of aiokafka end, whatever state they are in. In: a client. Out: it is disconnected, in bounded time.

aiokafka 0.14.0 cancels a fetch that pauses after a failure, and lets that cancellation out of its own `stop`, before the connections are
closed. Let through, it would end whoever only wanted to connect anew, without a word.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError


async def stop_consumer(consumer: Any, timeout_s: float) -> None:
    """Stop an aiokafka consumer; what its end raises is of no use to anybody."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping], timeout=timeout_s)
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        stopping.cancel()
        with suppress(KafkaError, OSError):
            await consumer._client.close()


def is_cancelled() -> bool:
    """Whether the running task is being cancelled, and not only a client's future that it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
