"""``POST /webhooks/{provider}``: what a provider reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.web.responses import WebView, json_response

if TYPE_CHECKING:
    from aiohttp.web import Request, Response


class Webhooks(WebView):
    """404 for a provider that sends no webhooks."""

    async def post(self, request: Request, provider: str) -> Response:
        return json_response({"error": "no provider of this name sends webhooks here"}, 404)
