"""Reads the body of a response of an HTTP server, of limited size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import ClientResponse


async def read_response(response: ClientResponse, limit: int) -> bytes:
    """The body, however many pieces it comes in; what follows `limit` bytes is left out.

    Raises:
        ClientError, TimeoutError: it did not arrive.
    """
    body = bytearray()
    while chunk := await response.content.read(limit - len(body)):
        body += chunk
    return bytes(body)
