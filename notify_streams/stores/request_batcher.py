"""Combines requests to a store: those made during a call share the next one.

A call for one request costs a store about as much as a call for many. So under load the calls grow in size, not in number, and a single
request is not delayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from notify_streams.errors import StoreUnavailable

if TYPE_CHECKING:
    from asyncio import Future, Task

Request = TypeVar("Request")
Result = TypeVar("Result")

#: Largest weight of one call of several requests.
_MAX_WEIGHT: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Pending(Generic[Request, Result]):
    request: Request
    weight: int
    result: Future[Result]


class RequestBatcher(Generic[Request, Result]):
    """``await batcher.call(request, weight)``. Each request is answered by a store call that began after it was made."""

    def __init__(
        self, call_store: Callable[[Sequence[Request]], Awaitable[Sequence[Result]]], max_weight: int = _MAX_WEIGHT
    ) -> None:
        """`call_store` returns the results of several requests in their order, in bounded time. Its error is raised to all of them."""
        self._call_store = call_store
        self._max_weight = max_weight
        self._queue: list[_Pending[Request, Result]] = []
        self._running: Task[None] | None = None

    async def call(self, request: Request, weight: int, timeout_s: float | None = None) -> Result:
        """The result for `request`.

        Raises:
            StoreUnavailable: there was none within `timeout_s`.
        """
        result: Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(request, weight, result))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(timeout_s):
                return await result
        except TimeoutError as error:
            raise StoreUnavailable(f"no result within {timeout_s:g} s") from error

    async def _run(self) -> None:
        batch: list[_Pending[Request, Result]] = []
        try:
            while batch := self._next_batch():
                await self._answer(batch)
        finally:
            self._running = None
            # If this task is cancelled, no caller must be left waiting.
            for pending in (*batch, *self._queue):
                pending.result.cancel()
            self._queue = []

    def _next_batch(self) -> list[_Pending[Request, Result]]:
        queue = [pending for pending in self._queue if not pending.result.done()]
        count = weight = 0
        while count < len(queue) and (not count or weight + queue[count].weight <= self._max_weight):
            weight += queue[count].weight
            count += 1
        self._queue = queue[count:]
        return queue[:count]

    async def _answer(self, batch: Sequence[_Pending[Request, Result]]) -> None:
        try:
            results = await self._call_store([pending.request for pending in batch])
        except Exception as error:  # the callers decide what to do with it
            for pending in batch:
                if not pending.result.done():
                    pending.result.set_exception(error)
            return
        for pending, result in zip(batch, results, strict=True):
            if not pending.result.done():
                pending.result.set_result(result)
