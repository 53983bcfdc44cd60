"""A token of Kafka's OAuth endpoint is renewed by a clock that goes on while the machine is suspended."""

from __future__ import annotations

import time

from aiohttp import web
from aiohttp.test_utils import TestServer

from notify_streams.access_token import TokenProvider, since_boot
from notify_streams.secret import Secret
from notify_streams.security import OAuthSettings


async def test_a_token_that_expired_while_the_machine_was_suspended_is_not_offered_again() -> None:
    asked, now_s = 0, 100.0

    async def serve(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"access_token": f"token-{asked}", "expires_in": 3600})

    app = web.Application()
    app.router.add_post("/", serve)
    async with TestServer(app) as server:
        settings = OAuthSettings(str(server.make_url("/")), "client", Secret("secret"))
        provider = TokenProvider(settings, now=lambda: now_s)
        assert [await provider.token(), await provider.token()] == ["token-1", "token-1"]
        now_s += 2 * 3600
        assert await provider.token() == "token-2"


def test_that_clock_counts_what_the_monotonic_one_leaves_out() -> None:
    assert abs(since_boot() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5.0
