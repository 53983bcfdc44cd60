"""Look-ups of server names that others chose, in threads of their own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

import aiohappyeyeballs

from notify_streams import tasks

#: A name server that does not answer keeps one of these threads for some 10 s.
_THREADS: Final = 16
_WAITING: Final = 64


class TooManyLookUps(OSError):
    """So many look-ups wait that a further one would not end in time."""


class NameLookups:
    """So many look-ups at a time, the others wait: slow names leave the event loop's threads to all other look-ups of the process."""

    def __init__(self, threads: int = _THREADS, waiting: int = _WAITING) -> None:
        self._threads = asyncio.Semaphore(threads)
        self._most_waiting = waiting
        self._waiting = 0

    async def look_up(self, host: str, port: int) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        """The addresses of a name.

        Raises:
            OSError: there are none; `TooManyLookUps` if it was not looked up.
            UnicodeError: it cannot be a name.
        """
        if self._threads.locked():
            if self._waiting >= self._most_waiting:
                raise TooManyLookUps("too many look-ups wait")
            self._waiting += 1
            try:
                await self._threads.acquire()
            finally:
                self._waiting -= 1
        else:
            await self._threads.acquire()
        found = tasks.in_thread(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        # A look-up whose caller was cancelled has its thread to the end, too.
        found.add_done_callback(lambda _: self._threads.release())
        return await asyncio.shield(found)
