"""Keeps one object of a kind for each worker, for all its views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.app import NotifyApp

Kind = TypeVar("Kind")

_found: WeakKeyDictionary[NotifyApp, dict[Callable[[NotifyApp], Any], Any]] = WeakKeyDictionary()


def one_for(worker: NotifyApp, make: Callable[[NotifyApp], Kind]) -> Kind:
    """What `make(worker)` returned at the first call. `make`: a class, or a function of a module."""
    of_worker = _found.setdefault(worker, {})
    if make not in of_worker:
        of_worker[make] = make(worker)
    return cast("Kind", of_worker[make])
