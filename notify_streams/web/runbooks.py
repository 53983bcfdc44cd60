"""`/runbooks`: what to do about each alert and each problem of the region's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.web.pages.runbook_text import runbooks
from notify_streams.web.responses import WebView

if TYPE_CHECKING:
    from aiohttp.web import Request, Response


class RunbookPage(WebView):
    """The runbooks of the worker's own version. No token is needed: they have nothing of a person."""

    async def get(self, request: Request) -> Response:
        found = runbooks()
        return self.page(request, "runbooks.html", html=found.html, headings=found.headings)
