"""A fake edge server: three kinds of points of presence, faults on demand."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import web

_ACCOUNT = "/client/v4/accounts/a1/storage/kv/namespaces/n1"
_STORE = "/resources/stores/kv/s1"
#: https://developers.cloudflare.com/kv/platform/limits/
_LONGEST_WORKERS_KEY = 512
_KEYS_PER_BULK = 10_000
#: https://docs.rs/fastly/latest/fastly/kv_store/struct.KVStore.html
_LONGEST_FASTLY_KEY = 1024
_NOT_IN_FASTLY_KEYS = frozenset("#;?^|\r\n")


@dataclass(frozen=True, slots=True)
class Received:
    """One key of one request that was executed."""

    action: str
    key: str
    value: str | None = None


@dataclass(slots=True)
class Faults:
    """Faults of the next requests."""

    #: Statuses to respond with to the next requests, which are not executed.
    statuses: deque[int] = field(default_factory=deque)
    #: Bodies of the next responses, of status 200, to requests that are not executed.
    bodies: deque[bytes] = field(default_factory=deque)
    #: Keys that a bulk write does not store, once each, and names in its response.
    left_out: set[str] = field(default_factory=set)
    #: Keys that are always refused.
    refused: set[str] = field(default_factory=set)
    #: Requests wait for this event.
    hanging: asyncio.Event | None = None


class FakeEdgeServer:
    """All three kinds at one address. `stored` is what a client at the edge reads."""

    def __init__(self, token: str = "t0ken") -> None:
        self.token = token
        self.stored: dict[str, str] = {}
        self.received: list[Received] = []
        self.requests = 0
        self.max_concurrent = 0
        self.faults = Faults()
        self._concurrent = 0
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        app = web.Application(middlewares=[self._guard], client_max_size=100 * 1024 * 1024)
        app.router.add_route("PUT", "/locations/{key}", self._put)
        app.router.add_route("DELETE", "/locations/{key}", self._delete)
        app.router.add_route("PUT", _STORE + "/keys/{key}", self._put)
        app.router.add_route("DELETE", _STORE + "/keys/{key}", self._delete)
        app.router.add_route("PUT", _ACCOUNT + "/bulk", self._bulk_put)
        app.router.add_route("POST", _ACCOUNT + "/bulk/delete", self._bulk_delete)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port; a restart uses the same port and keeps what was stored."""
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, kind: str) -> str:
        """The URL for the settings of a point of presence of this kind."""
        paths = {"http": "/locations", "fastly": _STORE, "cloudflare": _ACCOUNT}
        return f"http://127.0.0.1:{self._port}{paths[kind]}"

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests += 1
        self._concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self._concurrent)
        try:
            if self.faults.hanging is not None:
                await self.faults.hanging.wait()
            bearer = request.headers.get("Authorization") == f"Bearer {self.token}"
            if not (request.headers.get("Fastly-Key") == self.token if request.path.startswith(_STORE) else bearer):
                return web.Response(status=401)
            if self.faults.statuses:
                return web.Response(status=self.faults.statuses.popleft())
            if self.faults.bodies:
                return web.Response(body=self.faults.bodies.popleft())
            response: web.StreamResponse = await handler(request)
            return response
        finally:
            self._concurrent -= 1

    def _store(self, key: str, value: str) -> None:
        self.stored[key] = value
        self.received.append(Received("put", key, value))

    def _forget(self, key: str) -> bool:
        self.received.append(Received("delete", key))
        return self.stored.pop(key, None) is not None

    async def _put(self, request: web.Request) -> web.Response:
        key = _last(request)
        if key in self.faults.refused or (request.path.startswith(_STORE) and not _is_fastly_key(key)):
            return web.Response(status=400)
        self._store(key, (await request.read()).decode())
        return web.Response(status=200 if request.path.startswith(_STORE) else 201)

    async def _delete(self, request: web.Request) -> web.Response:
        return web.Response(status=204 if self._forget(_last(request)) else 404)

    async def _bulk_put(self, request: web.Request) -> web.Response:
        pairs = msgspec.json.decode(await request.read(), type=list[dict[str, str]])
        if self._refuses([pair["key"] for pair in pairs]):
            return _envelope(400, ok=False)
        missed = [pair["key"] for pair in pairs if pair["key"] in self.faults.left_out]
        self.faults.left_out -= set(missed)
        for pair in pairs:
            if pair["key"] not in missed:
                self._store(pair["key"], pair["value"])
        return _envelope(200, missed=missed, count=len(pairs) - len(missed))

    def _refuses(self, keys: list[str]) -> bool:
        """Whether Workers KV refuses a bulk: one bad key is enough."""
        bad = any(key in ("", ".", "..") or len(key.encode()) > _LONGEST_WORKERS_KEY for key in keys)
        return bad or len(keys) > _KEYS_PER_BULK or not self.faults.refused.isdisjoint(keys)

    async def _bulk_delete(self, request: web.Request) -> web.Response:
        keys = msgspec.json.decode(await request.read(), type=list[str])
        if self._refuses(keys):
            return _envelope(400, ok=False)
        for key in keys:
            self._forget(key)
        return _envelope(200, count=len(keys))


def _is_fastly_key(key: str) -> bool:
    return (
        key not in ("", ".", "..") and len(key.encode()) <= _LONGEST_FASTLY_KEY and not set(key) & _NOT_IN_FASTLY_KEYS
    )


def _last(request: web.Request) -> str:
    return unquote(request.raw_path.rpartition("/")[2])


def _envelope(status: int, *, ok: bool = True, missed: list[str] | None = None, count: int = 0) -> web.Response:
    result = {"successful_key_count": count, "unsuccessful_keys": missed or []}
    errors = [] if ok else [{"code": 10014, "message": "refused"}]
    body = {"success": ok, "errors": errors, "messages": [], "result": result if ok else None}
    return web.json_response(body, status=status)
