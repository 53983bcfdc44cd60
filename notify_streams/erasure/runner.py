"""Makes the steps of erasures, in two passes, until each is done.

The first pass stops every message and removes what can be removed at once. The second one, `settles_s` later, removes what was under way in
the first, and what had to stay until then. A step that was interrupted is made again; one that is done is not.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from notify_streams import metrics, tasks
from notify_streams.errors import PermanentFailure, RetryLater, UnknownFailure
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from notify_streams.erasure.store import OpenErasure

    #: Keeps how much a step has found.
    Note = Callable[[int], Awaitable[None]]
    #: Removes one kind of data of one person. It may be repeated.
    #:
    #: Raises:
    #:     RetryLater: a store does not answer, or something is under way that must end first.
    Step = Callable[[OpenErasure, Note], Awaitable[None]]

log = logging.getLogger(__name__)

_LOOK_S: Final = 10.0
#: After a step that could not be made, and between two looks while there is something to do.
_AGAIN_S: Final = 2.0
#: After an error of a step that is no outage.
_AFTER_ERROR_S: Final = 60.0
_RETRY: Final = RetryPolicy("erasure.run", first_s=0.5, max_s=10.0)


class Clocks(NamedTuple):
    """The time, by this machine's clock and by another one, of which one may be wrong."""

    #: The earlier and the later one of both.
    earlier: Callable[[], datetime]
    later: Callable[[], datetime]


_OWN: Final = Clocks(partial(datetime.now, UTC), partial(datetime.now, UTC))


class Erasures(Protocol):
    """`store.ErasureStore`."""

    async def take_due(self, now: datetime, /) -> list[OpenErasure]: ...
    async def note(self, one: OpenErasure, step: str, found: int, /) -> None: ...
    async def mark_done(self, one: OpenErasure, step: str, /) -> None: ...
    async def first_pass_made(self, one: OpenErasure, now: datetime, next_at: datetime, /) -> None: ...
    async def postpone(self, one: OpenErasure, until: datetime, /) -> None: ...
    async def finish(self, one: OpenErasure, now: datetime, /) -> None: ...


class ErasureRunner:
    """Looks for erasures that are due. Any number of workers may do so.

    Args:
        first, second: the steps of each pass by name, in order. A name may be in both.
        clocks: what is due is so by the earlier one, and later by the later one: a second pass that comes too early would let messages
            under way be sent, and the worker that makes it may be another one.
    """

    def __init__(
        self,
        store: Erasures,
        first: Mapping[str, Step],
        second: Mapping[str, Step],
        settles_s: float,
        clocks: Clocks = _OWN,
    ) -> None:
        self._store = store
        self._clocks = clocks
        #: By the name under which a step is done, which differs between the passes.
        self._first = {f"{name}_1": step for name, step in first.items()}
        self._second = {f"{name}_2": step for name, step in second.items()}
        self._settles = timedelta(seconds=settles_s)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="erasures")

    async def stop(self) -> None:
        """What was interrupted is made again by the next worker."""
        await tasks.stop([self._task])

    def wake(self) -> None:
        """An erasure was begun."""
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                found = await _RETRY.call(self.run_due)
            except Exception as error:  # erasures must not wait without an end because this task has ended
                log.error(
                    "erasures were not looked for, will be retried",
                    extra={"action": "erasure.look", "error": type(error).__name__},
                )
                found = 1
            try:
                async with asyncio.timeout(_AGAIN_S if found else _LOOK_S):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def run_due(self) -> int:
        """Make the steps of each erasure that is due; returns how many there were.

        One that waited for others until a further worker may have taken it is left to that one, or to the next look.

        Raises:
            StoreUnavailable: the documents cannot be read or written.
        """
        due = await self._store.take_due(self._clocks.earlier())
        for one in due:
            if one.taken_until is not None and self._clocks.earlier() >= one.taken_until:
                continue
            try:
                await self._erase(one)
            except (PermanentFailure, UnknownFailure) as error:  # RetryLater too, but no outage
                await self._failed(one, error)
            except RetryLater as error:
                log.warning(
                    "an erasure goes on later",
                    extra={"action": "erasure.postpone", "person": one.person, "error": error},
                )
                await self._store.postpone(one, self._clocks.earlier() + timedelta(seconds=_AGAIN_S))
            except Exception as error:  # the erasures of all others go on
                await self._failed(one, error)
        return len(due)

    async def _failed(self, one: OpenErasure, error: Exception) -> None:
        """Log, count, and try again later. The error's text may name the person."""
        log.error(
            "an erasure failed",
            extra={"action": "erasure.failed", "person": one.person, "error": type(error).__name__},
        )
        metrics.ERASURES.labels("failed").inc()
        await self._store.postpone(one, self._clocks.earlier() + timedelta(seconds=_AFTER_ERROR_S))

    async def _erase(self, one: OpenErasure) -> None:
        began_in_second = self._first.keys() <= one.done
        await self._make(one, self._second if began_in_second else self._first)
        now = self._clocks.later()
        if began_in_second:
            await self._store.finish(one, now)
            metrics.ERASURES.labels("finished").inc()
        else:
            await self._store.first_pass_made(one, now, now + self._settles)
            metrics.ERASURES.labels("first_pass").inc()

    async def _make(self, one: OpenErasure, steps: Mapping[str, Step]) -> None:
        for label, step in steps.items():
            if label not in one.done:
                await step(one, partial(self._store.note, one, label))
                await self._store.mark_done(one, label)
