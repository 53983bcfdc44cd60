"""Translates MongoDB's errors into errors of this application."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pymongo
from pymongo.errors import PyMongoError

from notify_streams.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def mongo_call(what: str, timeout_s: float | None = None) -> Iterator[None]:
    """Bound the MongoDB operations of the block to `timeout_s` seconds in all, and translate their errors.

    Raises:
        StoreUnavailable: `what` (the operation and the shard) and the error's type. The driver's text is left out: it may hold an
            address or a document.
    """
    try:
        with pymongo.timeout(timeout_s):
            yield
    except PyMongoError as error:
        raise StoreUnavailable(f"{what}: MongoDB: {type(error).__name__}") from error
