"""`/region`: verdict, workers, totals and charts of the region as JSON."""

from __future__ import annotations

from typing import Any

from notify_streams.errors import StoreUnavailable
from notify_streams.web.responses import Content, SharedView, json_content
from notify_streams.web.verdict.collector import region_collector


class RegionView(SharedView):
    """The `RegionStatus`, at most some seconds old."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._collector = region_collector(self.worker)

    async def content(self) -> Content:
        status = self._collector.status
        if status is None:
            raise StoreUnavailable("this worker has just started and has not seen the region yet")
        return json_content(status)
