"""Reads the region once a second for all views."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from notify_streams.web.shared_result import SharedResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notify_streams.app import NotifyApp

Result = TypeVar("Result")

_STORE_TIMEOUT_S: Final = 3.0

_shared: WeakKeyDictionary[NotifyApp, dict[Callable[..., Any], SharedResult[Any]]] = WeakKeyDictionary()


async def read_shared(worker: NotifyApp, read: Callable[[NotifyApp], Awaitable[Result]]) -> Result:
    """The result of `read(worker)`, shared by all views of a worker. `read` is a function of a module."""
    of_worker = _shared.setdefault(worker, {})
    if read not in of_worker:
        of_worker[read] = SharedResult(partial(read, worker))
    result: Result = await of_worker[read].get()
    return result


def store_timeout_s(worker: NotifyApp) -> float:
    """The timeout for one store: shorter than a view's, so that the response names the store."""
    return min(_STORE_TIMEOUT_S, worker.settings.outbox.transaction_timeout_s)
