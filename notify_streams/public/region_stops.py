"""Tells the other regions of a suppressed address at once.

It is not known which region serves the person behind a phone number. Each region gets a copy by its topic, as of every choice, but that
takes seconds; a region that knows of it at once keeps the staleness bound. What is sent is the address's id, never the address.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from notify_streams.public.relay import Relay
from notify_streams.records.address_ids import is_address_id
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import encode_record, read_preference_update
from notify_streams.web.request_body import read_body
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.records.user_records import PreferenceUpdate

log = logging.getLogger(__name__)

REGION_STOPS: Final = "/webhooks/regions"
_MAX_BYTES: Final = 4 * 1024


async def tell_regions(worker: NotifyApp, update: PreferenceUpdate) -> None:
    """Return when each other region that answers within 3 s sees the choice in every check. One that does not gets the copy later."""
    here, body = worker.settings.region, encode_record(update)
    others = [region for region in worker.settings.public.urls if region != here]
    done = await asyncio.gather(*(one_for(worker, Relay).tell(region, REGION_STOPS, body) for region in others))
    for region, is_done in zip(others, done, strict=True):
        if not is_done:
            log.warning(
                "a stop reaches a region by its topic only", extra={"action": "stop.not_confirmed", "region": region}
            )


class RegionStops(WebView):
    """A suppressed address, from another region. 200: every check that begins from now on sees it."""

    async def post(self, request: Request) -> Response:
        worker = self.worker
        body = await read_body(request, _MAX_BYTES)
        if not one_for(worker, Relay).is_proved(request, body):
            return json_response({"error": "this request does not prove that a region sent it"}, 403)
        update = read_preference_update(body, int(time.time() * 1000))
        if isinstance(update, Rejection) or not is_address_id(update.user_id) or update.opted_in:
            return json_response({"error": "the body must be the suppression of an address"}, 400)
        bucket = bucket_of(update.user_id, worker.settings.partitions)
        preferences = worker.preferences
        applied = await preferences.writer.apply_updates([(bucket, update)])
        if applied.rejected:
            return json_response({"error": applied.rejected[0][1].detail}, 400)
        if not applied.deltas_written:
            await asyncio.sleep(preferences.bound.lease_s)
        return json_response({"applied": True})
