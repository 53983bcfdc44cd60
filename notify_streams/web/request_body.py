"""Reads a request body of limited size, also one whose length is not declared."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from notify_streams.web_server import MAX_BODY_BYTES, awaiting_body

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

_TIMEOUT_S: Final = 5.0


class BodyTooLong(Exception):
    """The body is longer than allowed. Respond with 413."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body must have at most {limit} bytes")


class ClientGone(Exception):
    """The connection was closed before the whole body had arrived. No response can be sent."""


async def read_body(request: BaseRequest, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body, of at most `limit` bytes.

    Raises:
        BodyTooLong: see there.
        TimeoutError: the body did not arrive within 5 s.
        ClientGone: see there.
    """
    body = bytearray()
    try:
        with awaiting_body(request) as hold:
            async with asyncio.timeout(_TIMEOUT_S):
                while chunk := await request.content.read(limit + 1 - len(body)):
                    hold(len(chunk))
                    body += chunk
                    if len(body) > limit:
                        raise BodyTooLong(limit)
    except BaseException as error:
        body.clear()  # the traceback of the error, which aiohttp keeps, would hold it
        if isinstance(error, ConnectionError):
            raise ClientGone from None
        raise
    return bytes(body)
