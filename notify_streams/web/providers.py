"""`/providers`: provider calls and ended deliveries since this worker's start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from notify_streams import metrics
from notify_streams.web.metric_readers import counts, times
from notify_streams.web.responses import WebView, json_response

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.web.metric_readers import Labels, Times


class EndedDeliveries(msgspec.Struct, frozen=True):
    """The number of deliveries of one channel with the same end."""

    channel: str
    state: str
    reason: str | None
    count: int


def deliveries(found: dict[Labels, int]) -> list[EndedDeliveries]:
    """`found`: counts by (channel, state, reason)."""
    return [
        EndedDeliveries(channel, state, reason or None, count)
        for (channel, state, reason), count in sorted(found.items())
    ]


def calls(found: dict[Labels, Times]) -> dict[str, Times]:
    """`found`: times by (provider,)."""
    return {provider: spread for (provider,), spread in sorted(found.items())}


class Providers(WebView):
    async def get(self, request: Request) -> Response:
        return json_response(
            {
                "region": self.worker.settings.region,
                "role": self.worker.role,
                "since": "this worker's start",
                "calls": calls(times(metrics.PROVIDER_CALL)),
                "deliveries": deliveries(counts(metrics.DELIVERIES)),
            }
        )
