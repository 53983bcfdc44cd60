"""The page of the region that serves a person, by one request from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater
from notify_streams.public.pages.rendering import page_headers
from notify_streams.public.relay import relay

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp


async def relayed_page(worker: NotifyApp, region: str | None, request: Request, body: bytes) -> Response:
    """What `region` answers, with the headers of a page.

    Raises:
        RetryLater: no region serves the person, or it does not answer.
    """
    if region is None:
        raise RetryLater("no region serves this user")
    response = await relay(worker, region, request, body)
    if response.content_type != "text/html":
        raise RetryLater(f"region {region} does not answer")
    response.headers.update(page_headers())
    return response
