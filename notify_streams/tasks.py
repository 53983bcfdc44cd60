"""Stops and gathers asyncio tasks; keeps loops running; runs calls that block."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

log = logging.getLogger(__name__)

_CANCEL_AGAIN_S: Final = 0.5
#: Before a loop that failed begins again.
_BEGIN_AGAIN_S: Final = 1.0

Params = ParamSpec("Params")
Result = TypeVar("Result")


async def stop(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancel `tasks` and wait until all have ended. Their results and errors stay in them.

    Cancels again every 0.5 s: `asyncio.wait_for` of Python 3.11, which drivers use, can lose a cancellation (python/cpython#86296).
    """
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)


async def keep_running(what: str, loop: Callable[[], Awaitable[object]], pause_s: float = _BEGIN_AGAIN_S) -> None:
    """Run `loop`, which ends by cancellation only, and begin it again after an error, logged and after a pause.

    For background loops, whose end would not be noticed: an unknown error must not end for good what they do.

    Args:
        what: names the loop in the log.
    """
    while True:
        try:
            await loop()
        except Exception:
            log.exception("a loop failed, it begins again", extra={"action": "loop.again", "what": what})
        await asyncio.sleep(pause_s)


async def all_ended(calls: Iterable[Awaitable[Result]]) -> list[Result]:
    """Run them at the same time: all results in order, or the first error, once every call has ended."""
    results: list[Result] = []
    for one in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(one, BaseException):
            raise one
        results.append(one)
    return results


def in_thread(call: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> asyncio.Future[Result]:
    """The result of a call that blocks, as `asyncio.to_thread`, but in a thread of its own, for which the end of the process does not wait.

    A cancelled future leaves the call to its end. An error of a call whose result is not awaited any more is not logged.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        try:
            end = partial(_end, result, call(*args, **kwargs), None)
        except Exception as error:
            end = partial(_end, result, None, error)
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(end)

    Thread(target=run, daemon=True).start()
    return result


def _end(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()  # asyncio would log one that is never read, with all its text
