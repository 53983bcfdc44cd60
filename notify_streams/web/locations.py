"""`/locations/{key}`: where a person is at home, in the shape that a point of presence serves; it asks here for what was not pushed.

The key is `edge.point.key_of(user_id)`. Needs the token. The worker's own table answers where it has one, else the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from notify_streams.web.responses import WebView, answer
from notify_streams.web.user_lookup import user_lookup_of

if TYPE_CHECKING:
    from aiohttp.web import Request, Response


class LocationView(WebView):
    """`{"region", "version"}`, or 404 for somebody whom nobody knows."""

    needs_token = True

    async def get(self, request: Request, key: str) -> Response:
        user_id = unquote(key)
        found = (self.worker.locate and self.worker.locate(user_id)) or await user_lookup_of(self.worker).find(user_id)
        if found is None:
            return answer({"error": "nobody of this id has signed up"}, 404)
        return answer({"region": found.region, "version": found.version})
