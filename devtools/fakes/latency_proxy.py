"""A TCP proxy that delays each direction, and can hang or be cut.

Any amount of bytes can be in flight, as on a long link with enough buffers. A broker behind the proxy must advertise `address`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

_CHUNK: Final = 256 * 1024


class LatencyProxy:
    """One link. The caller chooses the port, because brokers advertise it before it is open."""

    def __init__(self, port: int, behind: str, delay_s: float) -> None:
        """
        Args:
            behind: ``host:port`` to forward connections to.
            delay_s: one way; a round trip takes twice as long.
        """
        self.address = f"127.0.0.1:{port}"
        self._port = port
        host, _, behind_port = behind.rpartition(":")
        self._behind = host, int(behind_port)
        self.delay_s = delay_s
        #: Cleared: the link hangs; connections stay open, no bytes pass.
        self.passing = asyncio.Event()
        self.passing.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, limit=_CHUNK)

    async def cut(self) -> None:
        """Refuse new connections and reset the open ones; `start` repairs the link."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind_writer = await asyncio.open_connection(*self._behind, limit=_CHUNK)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, behind_writer), (behind_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        in_flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._deliver(in_flight, sink))
        try:
            with suppress(OSError):
                while data := await source.read(_CHUNK):
                    in_flight.put_nowait((asyncio.get_running_loop().time() + self.delay_s, data))
                in_flight.put_nowait((0.0, b""))
                await arriving
        finally:
            arriving.cancel()
            sink.close()

    async def _deliver(self, in_flight: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                due, data = await in_flight.get()
                if not data:
                    return
                if (early := due - loop.time()) > 0:
                    await asyncio.sleep(early)
                await self.passing.wait()
                sink.write(data)
                await sink.drain()
