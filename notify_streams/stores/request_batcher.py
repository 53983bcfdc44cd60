"""Questions to one store, grouped: while a call is under way the others gather, and the next call takes what waits.

A call for one costs a store about as much as a call for many. So under load the calls grow, and not their number; whoever asks alone
does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from notify_streams.errors import StoreUnavailable

if TYPE_CHECKING:
    from asyncio import Future, Task

Asked = TypeVar("Asked")
Told = TypeVar("Told")

#: Weight of one call. One question alone may weigh more.
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Question(Generic[Asked, Told]):
    asked: Asked
    weight: int
    answer: Future[Told]


class RequestBatcher(Generic[Asked, Told]):
    """``await grouped.ask(question, weight)``. A question is answered by a call that began after it was asked."""

    def __init__(self, call: Callable[[Sequence[Asked]], Awaitable[Sequence[Told]]], most: int = _MOST) -> None:
        """`call` answers several questions in their order, in bounded time; what it raises, each of them raises."""
        self._call = call
        self._most = most
        self._waiting: list[_Question[Asked, Told]] = []
        self._calling: Task[None] | None = None

    async def ask(self, asked: Asked, weight: int, timeout_s: float | None = None) -> Told:
        """The answer to this question.

        Raises:
            StoreUnavailable: there was none within `timeout_s`.
        """
        answer: Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Question(asked, weight, answer))
        if self._calling is None:
            self._calling = asyncio.create_task(self._call_all())
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise StoreUnavailable(f"no answer within {timeout_s:g} s") from error

    async def _call_all(self) -> None:
        taken: list[_Question[Asked, Told]] = []
        try:
            while taken := self._next():
                await self._answer(taken)
        finally:
            self._calling = None
            # Whatever ended this: nobody waits for ever.
            for question in (*taken, *self._waiting):
                question.answer.cancel()
            self._waiting = []

    def _next(self) -> list[_Question[Asked, Told]]:
        waiting = [question for question in self._waiting if not question.answer.done()]
        count = weight = 0
        while count < len(waiting) and (not count or weight + waiting[count].weight <= self._most):
            weight += waiting[count].weight
            count += 1
        self._waiting = waiting[count:]
        return waiting[:count]

    async def _answer(self, taken: Sequence[_Question[Asked, Told]]) -> None:
        try:
            told = await self._call([question.asked for question in taken])
        except Exception as error:  # whoever asked knows what to do with it
            for question in taken:
                if not question.answer.done():
                    question.answer.set_exception(error)
            return
        for question, one in zip(taken, told, strict=True):
            if not question.answer.done():
                question.answer.set_result(one)
