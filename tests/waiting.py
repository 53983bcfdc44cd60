"""Wait for a condition, never for a time."""

import asyncio
import inspect
import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], what: str = "", within_s: float = 10.0) -> None:
    """`until`, where there is no event loop."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what or holds}"
        time.sleep(0.01)


async def until(holds: Callable[[], object], what: str = "", within_s: float = 10.0) -> None:
    """Ask until what `holds` says, awaited where it must be, is true.

    Raises:
        AssertionError: it was not within `within_s`.
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
