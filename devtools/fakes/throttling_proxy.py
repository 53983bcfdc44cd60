"""A DynamoDB proxy that throttles, or leaves keys unprocessed."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web

THROTTLED: Final = "ProvisionedThroughputExceededException"


class ThrottlingProxy:
    """Listens on 127.0.0.1 in front of `behind`."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        #: How many of the next calls are refused, and with which error.
        self.refuse = 0
        self.error = THROTTLED
        #: How many of the next BatchGetItem calls leave half of their keys unprocessed.
        self.leave_unprocessed = 0
        #: Received calls by operation.
        self.calls: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/", self._handle)
        self._session = aiohttp.ClientSession()
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.Response:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.calls[operation] += 1
        if self.refuse > 0:
            self.refuse -= 1
            error = {"__type": f"com.amazonaws.dynamodb.v20120810#{self.error}", "message": "throttled"}
            return _response(400, msgspec.json.encode(error))
        body = await request.read()
        left: dict[str, Any] = {}
        if operation == "BatchGetItem" and self.leave_unprocessed > 0:
            self.leave_unprocessed -= 1
            body, left = _halved(body)
        status, body_bytes = await self._forward(request, body)
        if left:
            response = msgspec.json.decode(body_bytes)
            response["UnprocessedKeys"] = left
            body_bytes = msgspec.json.encode(response)
        return _response(status, body_bytes)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, bytes]:
        assert self._session is not None
        names = ("X-Amz-Target", "X-Amz-Date", "Authorization", "Content-Type")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        async with self._session.post(self._behind, data=body, headers=headers) as response:
            return response.status, await response.read()


def _halved(body: bytes) -> tuple[bytes, dict[str, Any]]:
    request = msgspec.json.decode(body)
    [(table, wanted)] = request["RequestItems"].items()
    keys = wanted["Keys"]
    if len(keys) < 2:
        return body, {}
    request["RequestItems"] = {table: {**wanted, "Keys": keys[: len(keys) // 2]}}
    return msgspec.json.encode(request), {table: {**wanted, "Keys": keys[len(keys) // 2 :]}}


def _response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/x-amz-json-1.0")
