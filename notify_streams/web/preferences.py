"""``PUT /users/{id}/preferences/{category}/{channel}``: stores a choice.

After the response 200 the choice takes effect within the staleness bound. POST does the same for the buttons of a person's page.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from notify_streams.preferences.put_handler import PutResponse, put_preference
from notify_streams.records.partitioner import bucket_of
from notify_streams.web.placement import current_placement, require_still_served_here
from notify_streams.web.request_body import read_body
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.user_lookup import user_lookup

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp

#: What a button sends → what PUT takes.
_BUTTONS: Final = {b"opted_in=true": b'{"opted_in": true}', b"opted_in=false": b'{"opted_in": false}'}


class PreferenceView(WebView):
    """421 for users that another region serves, where a choice stored here has no effect."""

    right = "write"
    timeout_s = 15.0

    async def put(self, request: Request, user_id: str, category: str, channel: str) -> Response:
        put = await self._store(user_id, category, channel, await read_body(request))
        return json_response(put.body, put.status, put.headers)

    async def post(self, request: Request, user_id: str, category: str, channel: str) -> Response:
        """Leads back to the person's page."""
        body = _BUTTONS.get(await read_body(request))
        if body is None:
            return self.error_response(request, "send `opted_in=true` or `opted_in=false`", 400)
        put = await self._store(user_id, category, channel, body)
        if put.status != 200:
            return self.error_response(request, put.body["error"], put.status, put.headers)
        return self.redirect(request, f"/users/{quote(user_id, safe='')}?done=stored")

    async def _store(self, user_id: str, category: str, channel: str, body: bytes) -> PutResponse:
        worker = self.worker
        user = await user_lookup(worker).find(user_id)
        if user is None:
            return PutResponse(404, {"error": "no user with this id has signed up", "user_id": user_id})
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
        return put


def _misdirected(worker: NotifyApp, home: str) -> PutResponse | None:
    here = worker.settings.region
    served_by = current_placement(worker).server_of(home)
    if served_by == here:
        return None
    error = f"region {here} stored nothing: send the request to region {served_by}, which serves this user"
    return PutResponse(421, {"error": error, "served_by": served_by})
