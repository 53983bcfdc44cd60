"""Reads of one shard's rows, grouped: while one is under way the others gather, and the next takes all that wait.

So a process that falls back to the durable record with everything it has costs the shard one read at a time, however many ask at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notify_streams.errors import StoreUnavailable

if TYPE_CHECKING:
    from asyncio import Future, Task

#: Reads the rows of these people, who live in these buckets, as they are when it is called or later.
ReadRows = Callable[[Collection[str], Collection[int]], Awaitable[dict[str, bytes]]]


@dataclass(frozen=True, slots=True)
class _Question:
    bucket: int
    user_ids: Sequence[str]
    answer: Future[dict[str, bytes]]


class GroupedReads:
    """Asks `read` for many at once. A question is answered by a read that began after it was asked."""

    def __init__(self, read: ReadRows) -> None:
        self._read = read
        self._waiting: list[_Question] = []
        self._reading: Task[None] | None = None

    async def rows(self, bucket: int, user_ids: Sequence[str], timeout_s: float) -> dict[str, bytes]:
        """The rows of those who have one; others' rows may be there, too.

        Raises:
            StoreUnavailable: the read failed, or took longer than `timeout_s`.
        """
        answer: Future[dict[str, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Question(bucket, user_ids, answer))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError as error:
            raise StoreUnavailable(f"the preferences' durable record did not answer within {timeout_s:g} s") from error

    async def _read_all(self) -> None:
        asked: list[_Question] = []
        try:
            while asked := [question for question in self._waiting if not question.answer.done()]:
                self._waiting = []
                await self._answer(asked)
        finally:
            self._reading = None
            for question in asked + self._waiting:
                question.answer.cancel()
            self._waiting = []

    async def _answer(self, asked: Sequence[_Question]) -> None:
        people = {user_id for question in asked for user_id in question.user_ids}
        buckets = {question.bucket for question in asked}
        try:
            rows = await self._read(people, buckets)
        except StoreUnavailable as error:
            for question in asked:
                if not question.answer.done():
                    question.answer.set_exception(StoreUnavailable(str(error)))
            return
        for question in asked:
            if not question.answer.done():
                question.answer.set_result(rows)
