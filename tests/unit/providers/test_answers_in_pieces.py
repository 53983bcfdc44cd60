"""An answer that a server sends in several pieces is read to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from notify_streams.access_token import TokenProvider
from notify_streams.delivery.providers import ProviderConfig
from notify_streams.delivery.providers.checks import check_twilio
from notify_streams.response_body import read_response
from notify_streams.secret import Secret
from notify_streams.security import OAuthSettings

PIECES = (b'{"status": "act', b'ive", "access_token": "a.b", "expires_in": 60}')


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in PIECES:
            await response.write(piece)
            await asyncio.sleep(0.05)  # so that they are two reads
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_an_access_token(url: str) -> None:
    assert await TokenProvider(OAuthSettings(url, "client", Secret("secret"))).token() == "a.b"


async def test_an_answer_about_a_credential(url: str) -> None:
    config = ProviderConfig(
        fcm=url, twilio=url, smtp="smtp://s:25", twilio_account_sid="AC0", twilio_auth_token=Secret("token")
    )
    assert await check_twilio(config) == "Twilio takes the token of the account"


@pytest.mark.parametrize("limit", [1, len(PIECES[0]), 20, 1000])
async def test_no_more_than_the_limit_is_read(url: str, limit: int) -> None:
    async with ClientSession() as session, session.get(url) as response:
        assert await read_response(response, limit) == b"".join(PIECES)[:limit]
