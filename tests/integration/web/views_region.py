"""A region under test, and a function that waits for its views."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.app import web_port
from notify_streams.roles import VIEWS
from notify_streams.secret import Secret
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards


@dataclass
class ARegion:
    """The clients of one region."""

    settings: Settings
    http: aiohttp.ClientSession
    upstream: TriggerProducer
    shards: Shards
    run: str = field(default_factory=lambda: uuid4().hex[:8])

    def person(self, name: str) -> str:
        return f"{name}-{self.run}"

    def url(self, path: str, role: str = VIEWS) -> str:
        return f"http://127.0.0.1:{web_port(self.settings, role)}{path}"

    async def get(self, path: str, role: str = VIEWS, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a request with the read token."""
        token = bearer(self.settings.web_read_token)
        async with self.http.get(self.url(path, role), headers=token | headers) as response:
            return response.status, await response.json()

    async def put(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON of a request with the write token."""
        token = bearer(self.settings.web_write_token)
        async with self.http.put(self.url(path), headers=token, data=body) as response:
            return response.status, await response.json()


def bearer(token: Secret | None) -> dict[str, str]:
    assert token is not None
    return {"Authorization": f"Bearer {token.reveal()}"}


async def eventually(ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], object], within_s: float = 30.0) -> Any:
    """The first result of `ask` for which `holds` is true."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            result = await ask()
        except aiohttp.ClientError as error:
            result = error
        if not isinstance(result, aiohttp.ClientError) and holds(result):
            return result
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"after {within_s:.0f} s still {result!r}")
        await asyncio.sleep(0.1)
