"""An SMTP server that waits, refuses or goes away where a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from notify_streams.delivery.providers import ProviderConfig
from notify_streams.delivery.providers.smtp import Smtp
from tests.contract.providers.scripted_server import Peer, serve

GREETING, CONTENT = b"", b"."
_REPLIES = {GREETING: b"220 ready", b"DATA": b"354 go on"}


async def at_once(connection: int, command: bytes) -> None:
    """Reply without a wait."""


@dataclass
class MailServer:
    """Takes mails over connections with numbers from 1."""

    #: Awaited before each reply, with the connection and the command; an `EOFError` closes the connection.
    before: Callable[[int, bytes], Awaitable[None]] = at_once
    #: by command, other than success
    replies: Mapping[bytes, bytes] = field(default_factory=dict)
    port: int = 0
    connections: int = 0
    #: the connection of each mail whose content arrived
    taken: list[int] = field(default_factory=list)

    async def converse(self, peer: Peer) -> None:
        self.connections = peer.number
        await self._reply(peer, GREETING)
        while line := await peer.reader.readline():
            await self._reply(peer, line[:4])
            if line.startswith(b"DATA") and self._text(b"DATA").startswith(b"354"):
                await peer.reader.readuntil(b"\r\n.\r\n")
                self.taken.append(peer.number)
                await self._reply(peer, CONTENT)

    async def _reply(self, peer: Peer, command: bytes) -> None:
        await self.before(peer.number, command)
        await peer.send(self._text(command) + b"\r\n")

    def _text(self, command: bytes) -> bytes:
        return self.replies.get(command) or _REPLIES.get(command, b"250 ok")


@asynccontextmanager
async def mails_to(server: MailServer, **but: Any) -> AsyncIterator[Smtp]:
    """Runs `server` on a free port; a client of it."""
    async with serve(server.converse) as running:
        server.port = running.port
        client = Smtp(ProviderConfig(**{"smtp": f"smtp://127.0.0.1:{running.port}", "start_within_s": 5.0, **but}))
        await client.start()
        try:
            yield client
        finally:
            await client.close()


async def for_ever() -> None:
    await asyncio.Event().wait()
