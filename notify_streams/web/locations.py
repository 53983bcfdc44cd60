"""`/locations/{key}`: the location of a user, for points of presence that lack it.

The key is `edge.point_of_presence.key_of(user_id)`. The location comes from this worker's table or from the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from notify_streams.web.responses import WebView, json_response
from notify_streams.web.user_lookup import user_lookup

if TYPE_CHECKING:
    from aiohttp.web import Request, Response


class LocationView(WebView):
    """`{"region", "version"}`, or 404 for an unknown user."""

    right = "edge"

    async def get(self, request: Request, key: str) -> Response:
        user_id = unquote(key)
        location = (self.worker.locate and self.worker.locate(user_id)) or await user_lookup(self.worker).find(user_id)
        if location is None:
            return json_response({"error": "no user with this id has signed up"}, 404)
        return json_response({"region": location.region, "version": location.version})
