"""TCP proxies for MongoDB connections: a base class, and one that can be cut."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from notify_streams import tasks

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_CHUNK = 1 << 16


class TcpProxy:
    """``async with`` it, then connect a driver to `uri`, with `tls` if given. Subclasses say what happens to a connection (`serve`)."""

    def __init__(self, uri: str, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        host, _, port = urlsplit(uri).netloc.rpartition(":")
        self.behind = host, int(port)
        self._server: asyncio.Server | None = None
        self.connections: set[asyncio.Task[None]] = set()

    @property
    def uri(self) -> str:
        assert self._server is not None
        return f"mongodb://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await tasks.stop(list(self.connections))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        behind_reader, behind_writer = await asyncio.open_connection(*self.behind)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.serve(reader, writer, behind_reader, behind_writer)
        for one in (writer, behind_writer):
            with suppress(Exception):
                one.close()
        self.connections.discard(task)

    async def serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behind_reader: asyncio.StreamReader,
        behind_writer: asyncio.StreamWriter,
    ) -> None:
        """Serve one connection of a driver; both sides are closed when this returns."""
        raise NotImplementedError


class FaultProxy(TcpProxy):
    """A connection to a shard that a test can cut or hold: `cut_after` sees each chunk that the driver sends."""

    def __init__(self, uri: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(uri, tls)
        self._writers: set[asyncio.StreamWriter] = set()
        #: Called with each chunk for the server; True cuts all connections after the server has received it.
        self.cut_after: Callable[[bytes], bool] = lambda _: False
        #: Cleared: replies are held back.
        self.replies = asyncio.Event()
        self.replies.set()
        self.cuts = 0

    @property
    def uri(self) -> str:
        return f"{super().uri}/?directConnection=true"

    async def __aexit__(self, *details: object) -> None:
        self.cut()
        await super().__aexit__(*details)

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behind_reader: asyncio.StreamReader,
        behind_writer: asyncio.StreamWriter,
    ) -> None:
        writers = {writer, behind_writer}
        self._writers |= writers
        pumps = [
            asyncio.create_task(self._send_requests(reader, behind_writer)),
            asyncio.create_task(self._send_replies(behind_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= writers
            await tasks.stop(pumps)

    async def _send_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                cut = self.cut_after(chunk)
                if cut:
                    self.cuts += 1
                    self.replies.clear()
                writer.write(chunk)
                await writer.drain()
                if cut:
                    await asyncio.sleep(0.05)  # the server must have received it before the connection is cut
                    self.cut()
                    self.replies.set()
                    return

    async def _send_replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self.replies.wait()
                writer.write(chunk)
                await writer.drain()
