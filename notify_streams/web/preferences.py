"""``PUT /users/{id}/preferences/{category}/{channel}``: stores a choice.

After the response 200 the choice takes effect within the staleness bound.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from notify_streams.preferences.put_handler import put_preference
from notify_streams.records.partitioner import bucket_of
from notify_streams.web.placement import current_placement, require_still_served_here
from notify_streams.web.request_body import read_body
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.user_lookup import user_lookup

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp


class PreferenceView(WebView):
    """421 for users that another region serves, where a choice stored here has no effect."""

    right = "write"
    timeout_s = 15.0

    async def put(self, request: Request, user_id: str, category: str, channel: str) -> Response:
        worker = self.worker
        body = await read_body(request)
        user = await user_lookup(worker).find(user_id)
        if user is None:
            return json_response({"error": "no user with this id has signed up", "user_id": user_id}, 404)
        if (misdirected := _misdirected(worker, user.region)) is not None:
            return misdirected
        put = await put_preference(
            worker.preferences.writer,
            worker.categories,
            user_id=user_id,
            bucket=bucket_of(user_id, worker.settings.partitions),
            category=category,
            channel=channel,
            body=body,
            now=datetime.now(UTC),
        )
        if put.status == 200:
            require_still_served_here(worker, user.region)  # the repeated request gets 421
        return json_response(put.body, put.status, put.headers)


def _misdirected(worker: NotifyApp, home: str) -> Response | None:
    here = worker.settings.region
    served_by = current_placement(worker).server_of(home)
    if served_by == here:
        return None
    error = f"region {here} stored nothing: send the request to region {served_by}, which serves this user"
    return json_response({"error": error, "served_by": served_by}, 421)
