"""``PUT /users/{id}/preferences/{category}/{channel}``: a choice that holds once 200 is answered. Needs the token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater
from notify_streams.preferences.put_handler import put_preference
from notify_streams.records.partitioner import bucket_of
from notify_streams.web.placement import placement_of
from notify_streams.web.request_body import read_body
from notify_streams.web.responses import WebView, answer
from notify_streams.web.user_lookup import user_lookup_of

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp


class PreferenceView(WebView):
    """Takes choices of the people whom this region serves: elsewhere an opt-out would be stored and not be obeyed."""

    needs_token = True
    within_s = 15.0

    async def put(self, request: Request, user_id: str, category: str, channel: str) -> Response:
        worker = self.worker
        body = await read_body(request)
        user = await user_lookup_of(worker).find(user_id)
        if user is None:
            return answer({"error": "nobody of this id has signed up", "user_id": user_id}, 404)
        if (elsewhere := await _elsewhere(worker, user.region)) is not None:
            return elsewhere
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
        # A failover may have begun meanwhile: then nothing is promised, and the next try is told where to go.
        if put.status == 200 and await _elsewhere(worker, user.region) is not None:
            raise RetryLater("another region begins to serve this person")
        return answer(put.body, put.status, put.headers)


async def _elsewhere(worker: NotifyApp, home: str) -> Response | None:
    here = worker.settings.region
    served_by = (await placement_of(worker)).server_of(home)
    if served_by == here:
        return None
    said = f"region {served_by} serves this person; region {here} stored nothing: ask there"
    return answer({"error": said, "served_by": served_by}, 421)
