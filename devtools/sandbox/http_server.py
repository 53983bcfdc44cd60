"""The sandbox's HTTP server: FCM, Twilio, `GET /health`, `POST|DELETE /control`."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import orjson
from aiohttp import web

from devtools.sandbox import fcm, twilio
from devtools.sandbox.fault_injection import Action, FaultPlan
from devtools.sandbox.intake import MessageIntake
from devtools.sandbox.messages import HttpReply, IncomingMessage

#: A list of dead contacts may be long.
_LARGEST_BODY = 64 * 1024 * 1024


class SandboxHttpServer:
    """The routes. A handler ends normally even if the client disconnects: a real provider accepts the message, too."""

    def __init__(self, intake: MessageIntake, ports: dict[str, int]) -> None:
        self._intake = intake
        self._ports = ports

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/v1/projects/{project}/messages:send", self.push)
        app.router.add_post("/2010-04-01/Accounts/{sid}/Messages.json", self.sms)
        app.router.add_get("/2010-04-01/Accounts/{sid}.json", self.account)
        app.router.add_get("/health", self.health)
        app.router.add_post("/control", self.set_faults)
        app.router.add_delete("/control", self.clear_faults)
        return app

    async def push(self, request: web.Request) -> web.StreamResponse:
        at = time.time()
        project = request.match_info["project"]
        message = fcm.read(at, project, request.headers.get("Authorization"), await request.read())
        return await self._process(request, message, lambda: fcm.accepted(project), lambda _: fcm.dead())

    async def sms(self, request: web.Request) -> web.StreamResponse:
        at = time.time()
        authorization = request.headers.get("Authorization")
        message = twilio.read(at, request.match_info["sid"], authorization, await request.read())
        return await self._process(request, message, twilio.accepted, twilio.dead)

    async def account(self, request: web.Request) -> web.StreamResponse:
        return _json(twilio.account(request.match_info["sid"], request.headers.get("Authorization")))

    async def health(self, request: web.Request) -> web.StreamResponse:
        messages: dict[str, dict[str, int]] = {}
        for (provider, action), count in self._intake.counts.items():
            messages.setdefault(provider, {})[action] = count
        return _json(HttpReply(200, {"healthy": True, "ports": self._ports, "messages": messages}))

    async def set_faults(self, request: web.Request) -> web.StreamResponse:
        try:
            plan = msgspec.json.decode(await request.read(), type=FaultPlan)
        except msgspec.DecodeError as error:
            return _json(HttpReply(400, {"error": str(error)}))
        self._intake.set_faults(plan)
        return _json(HttpReply(200, {"provider": plan.provider}))

    async def clear_faults(self, request: web.Request) -> web.StreamResponse:
        self._intake.clear_faults()
        return _json(HttpReply(200, {}))

    async def _process(
        self,
        request: web.Request,
        message: IncomingMessage | HttpReply,
        accepted: Callable[[], HttpReply],
        dead: Callable[[str], HttpReply],
    ) -> web.StreamResponse:
        if isinstance(message, HttpReply):
            return _json(message)
        action = await self._intake.process(message)
        if action is Action.ACCEPT:
            return _json(accepted())
        if action is Action.DEAD:
            return _json(dead(message.to))
        if action is Action.FAIL:
            failed = fcm.failed if message.provider == "fcm" else twilio.failed
            return _json(failed(self._intake.failure(message.provider)))
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


def _json(reply: HttpReply) -> web.Response:
    headers = None if reply.retry_after_s is None else {"Retry-After": f"{reply.retry_after_s:g}"}
    return web.Response(
        status=reply.status, body=orjson.dumps(reply.body), headers=headers, content_type="application/json"
    )
