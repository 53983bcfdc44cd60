"""The sandbox's APNs on a port: HTTP/2 over TLS."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from uuid import uuid4

import orjson
from h2.settings import SettingCodes

from devtools.sandbox import apns
from devtools.sandbox.fault_injection import Action
from devtools.sandbox.http2_server import Http2Connection, Request, tls_of
from devtools.sandbox.intake import MessageIntake
from devtools.sandbox.keys import SandboxKeys
from devtools.sandbox.messages import HttpReply, IncomingMessage

#: Of a connection after a valid token; Apple says that the number depends on the load.
_STREAMS: Final = 1000


class ApnsServer:
    """Each request is answered by a task, so that a late answer delays no other one."""

    def __init__(self, intake: MessageIntake, keys: SandboxKeys) -> None:
        self.keys = keys
        self.connections: set[_Connection] = set()
        self._intake = intake
        self._answers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        loop, context = asyncio.get_running_loop(), tls_of(self.keys.server)
        self._server = await loop.create_server(lambda: _Connection(self), host, port, ssl=context, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Take no further connections and requests."""
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.leave()

    def received(self, connection: _Connection, stream: int) -> None:
        """Begin to answer a request."""
        task = asyncio.create_task(self._answer(connection, stream, connection.requests[stream]))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, connection: _Connection, stream: int, request: Request) -> None:
        found = apns.read(time.time(), request, connection.sender)
        apns_id = request.headers.get("apns-id") or str(uuid4())
        if isinstance(found, IncomingMessage):
            connection.has_token()
            reply = await self._process(connection, found)
        else:
            reply = found
        if reply is None:
            connection.transport.abort()
            return
        headers = {} if reply.retry_after_s is None else {"retry_after": f"{reply.retry_after_s:g}"}
        body = orjson.dumps(reply.body) if reply.body else b""
        connection.respond(stream, reply.status, body, apns_id=apns_id, **headers)

    async def _process(self, connection: _Connection, message: IncomingMessage) -> HttpReply | None:
        """None: the connection ends without a response."""
        try:
            action = await self._intake.process(message)
        except OSError:  # the provider log cannot be written
            return apns.error(500, "InternalServerError")
        if action is Action.DEAD:
            return apns.dead()
        if action is Action.FAIL:
            return apns.failed(self._intake.failure("apns"))
        if action in (Action.HANG, Action.ACCEPT_AND_LOSE_ANSWER):
            return None
        if action is Action.ACCEPT_AND_GO_AWAY:
            connection.leave()
        return HttpReply(200, {})


class _Connection(Http2Connection):
    """Of a client: one stream until it has shown a valid token."""

    def __init__(self, server: ApnsServer) -> None:
        super().__init__(server.received, {SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        self.sender = apns.Sender(server.keys.apns)
        self._server = server
        self._has_token = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)

    def has_token(self) -> None:
        """Allow more streams."""
        if not self._has_token:
            self._has_token = True
            self.allow_streams(_STREAMS)
