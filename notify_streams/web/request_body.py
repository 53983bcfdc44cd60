"""The body of a request, bounded: Faust itself reads whatever is sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp.web import Request

LONGEST: Final = 1024
_WITHIN_S: Final = 5.0


class TooLong(Exception):
    """The body has more than `LONGEST` bytes; the rest was not read."""


async def read_body(request: Request) -> bytes:
    """All of it.

    Raises:
        TooLong: see there.
        TimeoutError: the sender takes too long.
    """
    if (request.content_length or 0) > LONGEST:
        raise TooLong
    body = bytearray()
    async with asyncio.timeout(_WITHIN_S):
        while chunk := await request.content.read(LONGEST + 1 - len(body)):
            body += chunk
            if len(body) > LONGEST:
                raise TooLong
    return bytes(body)
