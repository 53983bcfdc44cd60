"""``POST /webhooks/{provider}``: what a provider reports."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.public.report_store import ReportStore
from notify_streams.public.webhook_sources import GenericSource, RefusedWebhook, SnsSource, TwilioSource
from notify_streams.web.request_body import read_body
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.public.webhook_sources import WebhookSource

log = logging.getLogger(__name__)

#: The name in the path → what sends it.
SOURCES: Final[Mapping[str, Callable[[NotifyApp], WebhookSource]]] = {
    "twilio": TwilioSource,
    "sns": SnsSource,
    "generic": GenericSource,
}


class Webhooks(WebView):
    """2xx when everything is durable, and every later check sees what was stopped.

    403: the request does not prove who sent it. 503: send it again; nothing may be known of it. 404: no such provider.
    """

    async def post(self, request: Request, provider: str) -> Response:
        kind = SOURCES.get(provider)
        if kind is None:
            return json_response({"error": "no provider of this name sends webhooks here"}, 404)
        source = one_for(self.worker, kind)
        if source.missing is not None:
            metrics.WEBHOOKS.labels(provider, "unconfigured").inc()
            return json_response({"error": f"this webhook is off: set {source.missing}"}, 503)
        body = await read_body(request, source.max_bytes)
        found = await source.verify(request, body)
        if isinstance(found, RefusedWebhook):
            metrics.WEBHOOKS.labels(provider, "refused").inc()
            log.warning(
                "webhook refused", extra={"action": "webhook.refused", "provider": provider, "status": found.status}
            )
            return json_response({"error": found.why}, found.status)
        await one_for(self.worker, ReportStore).store(found.reports)
        response = await source.applied(found)
        metrics.WEBHOOKS.labels(provider, "repeated" if found.repeated else "accepted").inc()
        return response
