"""A region under test as the views' claims need it, and the way to wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards
from notify_streams.web.peers import web_port_of


@dataclass
class ARegion:
    """What the tests need to know of it."""

    settings: Settings
    http: aiohttp.ClientSession
    upstream: TriggerProducer
    shards: Shards
    run: str = field(default_factory=lambda: uuid4().hex[:8])

    def person(self, name: str) -> str:
        return f"{name}-{self.run}"

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.settings.web_token}"}

    def url(self, path: str, role: str = "standard") -> str:
        return f"http://127.0.0.1:{web_port_of(self.settings, role)}{path}"

    async def get(self, path: str, role: str = "standard", **headers: str) -> tuple[int, Any]:
        """Status and JSON; the token is sent along."""
        async with self.http.get(self.url(path, role), headers=self.token | headers) as answer:
            return answer.status, await answer.json()

    async def put(self, path: str, body: bytes, role: str = "standard") -> tuple[int, Any]:
        async with self.http.put(self.url(path, role), headers=self.token, data=body) as answer:
            return answer.status, await answer.json()


async def eventually(ask: Callable[[], Awaitable[Any]], holds: Callable[[Any], object], within_s: float = 30.0) -> Any:
    """The first answer that `holds`; asks again until then."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            answer = await ask()
        except aiohttp.ClientError as error:
            answer = error
        if not isinstance(answer, aiohttp.ClientError) and holds(answer):
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"after {within_s:.0f} s still {answer!r}")
        await asyncio.sleep(0.1)
