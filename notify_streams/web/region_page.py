"""`/` of the role `views`: the region's page, or this worker's `Summary` as JSON.

JSON is returned for ``Accept: application/json``. `/region/events` keeps the page current; without JavaScript it reloads itself.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams.web.pages.region_page import kind_of, sections
from notify_streams.web.pages.rendering import wants_json
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.summary_view import summary_of
from notify_streams.web.verdict.collector import region_collector
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from typing import Any

    from aiohttp.web import Request, Response
    from markupsafe import Markup

    from notify_streams.app import NotifyApp
    from notify_streams.web.verdict.region_status import RegionStatus

_JSON_VIEWS: Final = ("/region", "/ledger", "/outbox", "/providers", "/regions", "/lag", "/ready", "/live", "/metrics")
#: The region is observed every 5 s; an older verdict is said to be old.
_OLD_S: Final = 30.0
_SIGNS: Final = {"good": "✓", "warn": "!", "bad": "✕"}


class RegionPage(WebView):
    """Everything that the region's collector has seen."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._collector = region_collector(self.worker)

    async def get(self, request: Request) -> Response:
        if wants_json(request.headers):
            return json_response(summary_of(self.worker))
        status = self._collector.status
        if status is None:
            return self.page(request, "overview.html", title="Starting", sections=None)
        return self.page(
            request,
            "overview.html",
            title=title_of(status),
            at=time_of(status),
            is_old=(datetime.now(UTC) - status.verdict.at).total_seconds() > _OLD_S,
            sections=one_for(self.worker, RenderedRegion).sections(status),
            json_views=_JSON_VIEWS,
        )


class RenderedRegion:
    """The sections of the latest status, rendered once for all pages of a worker."""

    def __init__(self, _: NotifyApp) -> None:
        self._status: RegionStatus | None = None
        self._sections: dict[str, Markup] = {}

    def sections(self, status: RegionStatus) -> dict[str, Markup]:
        """The HTML of each section."""
        if status is not self._status:
            self._status, self._sections = status, sections(status)
        return self._sections


def title_of(status: RegionStatus) -> str:
    """The verdict, with a sign that is seen in a row of tabs."""
    return f"{_SIGNS[kind_of(status)]} {status.verdict.headline}"


def time_of(status: RegionStatus) -> str:
    """When the region was observed, in UTC."""
    return f"{status.verdict.at.astimezone(UTC):%H:%M:%S}"
