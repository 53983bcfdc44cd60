"""Reads a request body of limited size, also one whose length is not declared."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from notify_streams.web_server import MAX_BODY_BYTES

if TYPE_CHECKING:
    from aiohttp.web import Request

_TIMEOUT_S: Final = 5.0


class BodyTooLong(Exception):
    """The body has more than `MAX_BODY_BYTES`. Respond with 413."""


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        BodyTooLong: see there.
        TimeoutError: the body did not arrive within 5 s.
    """
    body = bytearray()
    async with asyncio.timeout(_TIMEOUT_S):
        while chunk := await request.content.read(MAX_BODY_BYTES + 1 - len(body)):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLong
    return bytes(body)
