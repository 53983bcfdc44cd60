"""A DynamoDB that is throttled: a proxy in front of a real one which answers the next calls with an error of its choice.

For tests. Calls that are not refused are carried out by the real one; BatchGetItem can be made to leave keys over.
"""

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
        #: How many of the next calls are refused, and with what.
        self.refuse = 0
        self.error = THROTTLED
        #: How many of the next BatchGetItem calls answer one key and leave the others over.
        self.leave_over = 0
        #: Calls that came in, by operation.
        self.calls: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/", self._answer)
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

    async def _answer(self, request: web.Request) -> web.Response:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.calls[operation] += 1
        if self.refuse > 0:
            self.refuse -= 1
            body = {"__type": f"com.amazonaws.dynamodb.v20120810#{self.error}", "message": "slower, please"}
            return _response(400, msgspec.json.encode(body))
        asked = await request.read()
        over: dict[str, Any] = {}
        if operation == "BatchGetItem" and self.leave_over > 0:
            self.leave_over -= 1
            asked, over = _halved(asked)
        status, body_bytes = await self._ask(request, asked)
        if over:
            answer = msgspec.json.decode(body_bytes)
            answer["UnprocessedKeys"] = over
            body_bytes = msgspec.json.encode(answer)
        return _response(status, body_bytes)

    async def _ask(self, request: web.Request, body: bytes) -> tuple[int, bytes]:
        assert self._session is not None
        names = ("X-Amz-Target", "X-Amz-Date", "Authorization", "Content-Type")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        async with self._session.post(self._behind, data=body, headers=headers) as response:
            return response.status, await response.read()


def _halved(asked: bytes) -> tuple[bytes, dict[str, Any]]:
    request = msgspec.json.decode(asked)
    [(table, wanted)] = request["RequestItems"].items()
    keys = wanted["Keys"]
    if len(keys) < 2:
        return asked, {}
    request["RequestItems"] = {table: {**wanted, "Keys": keys[: len(keys) // 2]}}
    return msgspec.json.encode(request), {table: {**wanted, "Keys": keys[len(keys) // 2 :]}}


def _response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/x-amz-json-1.0")
