"""One result for all who ask within a moment."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")

#: For what is only looked at; who waits for a change takes a shorter time.
FOR_S: Final = 1.0


class SharedResult(Generic[Result]):
    """Calls `make` at most once in `for_s` and never twice at a time, however many ask. Its errors are shared too."""

    def __init__(self, make: Callable[[], Awaitable[Result]], for_s: float = FOR_S) -> None:
        self._make = make
        self._for_s = for_s
        self._making: asyncio.Future[Result] | None = None
        self._good_until = 0.0

    async def get(self) -> Result:
        """The present result. A caller that is cancelled does not end the call for the others."""
        if self._making is None or (self._making.done() and time.monotonic() >= self._good_until):
            self._making = asyncio.ensure_future(self._make())
            self._good_until = time.monotonic() + self._for_s
        return await asyncio.shield(self._making)
