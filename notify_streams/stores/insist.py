"""Asks again, with growing pauses, until a store answers: for steps that may neither be skipped nor fail."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


async def insist(ask: Callable[Asked, Awaitable[Answer]], *args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
    """The answer of `ask(*args, **kwargs)`, called again after each `RetryLater`; cancel it to give up."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await ask(*args, **kwargs)
        except RetryLater as error:
            log.warning("asked again", extra={"action": "insist", "error": str(error)})
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
