"""The sandbox's HTTP servers.

FCM, Twilio, subscriptions, `GET /health`, `POST|DELETE /control`; with TLS the push service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import orjson
from aiohttp import web

from devtools.sandbox import fcm, twilio, web_push
from devtools.sandbox.fault_injection import Action, Failure, FaultPlan, ProviderName
from devtools.sandbox.intake import MessageIntake
from devtools.sandbox.keys import SandboxKeys
from devtools.sandbox.messages import HttpReply, IncomingMessage

#: A list of dead contacts may be long.
_LARGEST_BODY = 64 * 1024 * 1024
_FAILED: Mapping[ProviderName, Callable[[Failure], HttpReply]] = {
    "fcm": fcm.failed,
    "twilio": twilio.failed,
    "web_push": web_push.failed,
}


class SandboxHttpServer:
    """The routes. A handler ends normally even if the client disconnects: a real provider accepts the message, too."""

    def __init__(self, intake: MessageIntake, ports: dict[str, int], keys: SandboxKeys) -> None:
        """`ports` may be completed later."""
        self._intake = intake
        self._ports = ports
        self._keys = keys
        self._browser = web_push.Browser(keys.browser)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/v1/projects/{project}/messages:send", self.push)
        app.router.add_post("/2010-04-01/Accounts/{sid}/Messages.json", self.sms)
        app.router.add_get("/2010-04-01/Accounts/{sid}.json", self.account)
        app.router.add_get("/health", self.health)
        app.router.add_post("/control", self.set_faults)
        app.router.add_delete("/control", self.clear_faults)
        app.router.add_get("/subscriptions/{name:[A-Za-z0-9_-]{1,64}}", self.subscription)
        return app

    def push_service(self) -> web.Application:
        """Of the endpoints of Web Push; for a port with TLS."""
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/push/{name:[A-Za-z0-9_-]{1,64}}", self.web_push)
        app.router.add_post("/{path:.*}", self.unknown_subscription)
        return app

    async def push(self, request: web.Request) -> web.StreamResponse:
        at = time.time()
        project = request.match_info["project"]
        message = fcm.read(at, project, request.headers.get("Authorization"), await request.read())
        if isinstance(message, HttpReply) and (failure := self._intake.refused_credential("fcm")) is not None:
            message = fcm.failed(failure)  # a call that only validates does not pass the intake
        return await self._process(request, message, lambda: fcm.accepted(project), lambda _: fcm.dead())

    async def sms(self, request: web.Request) -> web.StreamResponse:
        at = time.time()
        authorization = request.headers.get("Authorization")
        message = twilio.read(at, request.match_info["sid"], authorization, await request.read())
        return await self._process(request, message, twilio.accepted, twilio.dead)

    async def web_push(self, request: web.Request) -> web.StreamResponse:
        at = time.time()
        origin = f"https://{request.host}"
        headers = {name.lower(): value for name, value in request.headers.items()}
        message = web_push.read(
            at, origin + request.path, headers, await request.read(), self._keys.application, self._browser
        )
        return await self._process(request, message, lambda: web_push.accepted(origin), lambda _: web_push.dead())

    async def unknown_subscription(self, request: web.Request) -> web.StreamResponse:
        return _json(web_push.unknown())

    async def subscription(self, request: web.Request) -> web.StreamResponse:
        """As if a browser had subscribed: the same name gives the same subscription."""
        endpoint = web_push.endpoint(self._ports["web_push"], request.match_info["name"])
        return web.Response(text=self._browser.subscription(endpoint), content_type="application/json")

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
            return _json(_FAILED[message.provider](self._intake.failure(message.provider)))
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


def _json(reply: HttpReply) -> web.Response:
    headers = {} if reply.retry_after_s is None else {"Retry-After": f"{reply.retry_after_s:g}"}
    if reply.location is not None:
        headers["Location"] = reply.location
    return web.Response(
        status=reply.status, body=orjson.dumps(reply.body), headers=headers, content_type="application/json"
    )
