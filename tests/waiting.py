"""Waits for a condition."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Final

#: A wait ends when its condition holds: the limit is for a machine that is busy with something else.
LIMIT_S: Final = 30.0


def wait_until(holds: Callable[[], object], what: str = "", within_s: float = LIMIT_S) -> None:
    """`until` without an event loop."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what or holds}"
        time.sleep(0.01)


async def until(holds: Callable[[], object], what: str = "", within_s: float = LIMIT_S) -> None:
    """Call `holds`, and await its result if it is awaitable, until the result is true.

    Raises:
        AssertionError: it was not true within `within_s`.
    """
    deadline = time.monotonic() + within_s
    while True:
        held = holds()
        if inspect.isawaitable(held):
            held = await held
        if held:
            return
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what or holds}"
        await asyncio.sleep(0.01)
