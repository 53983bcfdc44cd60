"""Reads a request body of limited size; Faust itself has no limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp.web import Request

MAX_BODY_BYTES: Final = 1024
_TIMEOUT_S: Final = 5.0


class BodyTooLong(Exception):
    """The body has more than `MAX_BODY_BYTES`. Respond with 413."""


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        TooLong: see there.
        TimeoutError: the body did not arrive within 5 s.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise BodyTooLong
    body = bytearray()
    async with asyncio.timeout(_TIMEOUT_S):
        while chunk := await request.content.read(MAX_BODY_BYTES + 1 - len(body)):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLong
    return bytes(body)
