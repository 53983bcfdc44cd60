"""Whether an aiokafka consumer pauses between two fetches."""

from typing import Any


def a_fetch_pauses(consumer: Any) -> bool:
    """Whether one of its fetches sleeps: after a failure, or for the gap between two."""
    return any(_innermost(task.get_coro()) == "sleep" for task in consumer._fetcher._pending_tasks)


def _innermost(coroutine: Any) -> str:
    while hasattr(coroutine.cr_await, "cr_await"):
        coroutine = coroutine.cr_await
    return str(coroutine.__name__)
