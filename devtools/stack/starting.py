"""Starts a stack from an event loop, so that a cancelled start can be undone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devtools.stack.stack import Stack


async def start_services(
    stack: Stack, regions: Sequence[str], members: int | None = None, *, secure: bool | None = None
) -> None:
    """`Stack.up` in a thread.

    A thread cannot be cancelled: after a cancellation this waits for its end, so that `Stack.down` stops all.

    Raises:
        StackFailed: see `Stack.up`.
    """
    starting = asyncio.create_task(asyncio.to_thread(stack.up, regions, members, secure=secure))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            with suppress(asyncio.CancelledError):  # an impatient second signal
                await asyncio.wait([starting])
        raise


class StartedAsAWhole:
    """Starts with `_start`.

    What that gave to `_closing` is stopped at the end, also of a start that fails or is cancelled.
    """

    def __init__(self) -> None:
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def _start(self) -> None:
        raise NotImplementedError
