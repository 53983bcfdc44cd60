"""The sandbox's HTTP side: FCM, Twilio, `GET /health`, `POST` and `DELETE /control`."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import orjson
from aiohttp import web

from devtools.sandbox import fcm, twilio
from devtools.sandbox.fault_injection import FaultPlan, InjectedFault
from devtools.sandbox.intake import Incoming, MessageIntake
from devtools.sandbox.response import HttpReply

#: a list of dead contacts may be long
_LARGEST_BODY = 64 * 1024 * 1024


class SandboxHttpServer:
    """The routes. A handler runs to its end even if the client is gone: a provider accepts all the same."""

    def __init__(self, desk: MessageIntake, ports: dict[str, int]) -> None:
        self._desk = desk
        self._ports = ports

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/v1/projects/{project}/messages:send", self.push)
        app.router.add_post("/2010-04-01/Accounts/{sid}/Messages.json", self.sms)
        app.router.add_get("/health", self.health)
        app.router.add_post("/control", self.control)
        app.router.add_delete("/control", self.forget)
        return app

    async def push(self, request: web.Request) -> web.StreamResponse:
        at = time.time()
        taken = fcm.read(at, request.headers.get("Authorization"), await request.read())
        project = request.match_info["project"]
        return await self._settle(request, taken, lambda: fcm.accepted(project), lambda _: fcm.dead())

    async def sms(self, request: web.Request) -> web.StreamResponse:
        at = time.time()
        authorization = request.headers.get("Authorization")
        taken = twilio.read(at, request.match_info["sid"], authorization, await request.read())
        return await self._settle(request, taken, twilio.accepted, twilio.dead)

    async def health(self, request: web.Request) -> web.StreamResponse:
        fates: dict[str, dict[str, int]] = {}
        for (provider, fate), count in self._desk.fates.items():
            fates.setdefault(provider, {})[fate] = count
        return _json(HttpReply(200, {"healthy": True, "ports": self._ports, "messages": fates}))

    async def control(self, request: web.Request) -> web.StreamResponse:
        try:
            orders = msgspec.json.decode(await request.read(), type=FaultPlan)
        except msgspec.DecodeError as wrong:
            return _json(HttpReply(400, {"error": str(wrong)}))
        self._desk.order(orders)
        return _json(HttpReply(200, {"provider": orders.provider}))

    async def forget(self, request: web.Request) -> web.StreamResponse:
        self._desk.forget_orders()
        return _json(HttpReply(200, {}))

    async def _settle(
        self,
        request: web.Request,
        taken: Incoming | HttpReply,
        accepted: Callable[[], HttpReply],
        dead: Callable[[str], HttpReply],
    ) -> web.StreamResponse:
        if isinstance(taken, HttpReply):
            return _json(taken)
        fate = await self._desk.take(taken)
        if fate is InjectedFault.ACCEPT:
            return _json(accepted())
        if fate is InjectedFault.DEAD:
            return _json(dead(taken.to))
        if fate is InjectedFault.FAIL:
            failed = fcm.failed if taken.provider == "fcm" else twilio.failed
            return _json(failed(self._desk.failure(taken.provider)))
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


def _json(reply: HttpReply) -> web.Response:
    headers = None if reply.retry_after_s is None else {"Retry-After": f"{reply.retry_after_s:g}"}
    return web.Response(
        status=reply.status, body=orjson.dumps(reply.body), headers=headers, content_type="application/json"
    )
