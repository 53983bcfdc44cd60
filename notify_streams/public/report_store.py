"""Stores what webhooks report: receipts in Kafka, stops as choices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import metrics
from notify_streams.delivery.providers.reports import AddressEvent, ReceiptReport
from notify_streams.errors import Refused, RetryLater
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.preferences.consents import has_consent
from notify_streams.preferences.stops import fitting_detail
from notify_streams.public.region_stops import tell_regions
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.regions.forwarding.headers import forwarded_headers
from notify_streams.stores.mongo import CONSENTS
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.stores.request_batcher import RequestBatcher
from notify_streams.topics import RECEIPTS, forward_topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from notify_streams.app import NotifyApp
    from notify_streams.delivery.providers.reports import AddressReport, Report
    from notify_streams.preferences.stops import Stops
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.records.user_records import PreferenceUpdate
    from notify_streams.settings import Settings

_PUBLISH_TIMEOUT_S: Final = 5.0
_encode: Final = msgspec.json.Encoder().encode


class ReportStore:
    """Returns when everything is durable. What was published during a call shares the next one."""

    def __init__(self, worker: NotifyApp, publish_timeout_s: float = _PUBLISH_TIMEOUT_S) -> None:
        self._worker = worker
        self._publish_timeout_s = publish_timeout_s
        self._publishing: RequestBatcher[OutboxRecord, None] = RequestBatcher(self._publish)

    async def store(self, reports: Sequence[Report]) -> None:
        """Receipts first: what follows may be off, and all of it is done again if one part fails.

        Raises:
            RetryLater: it is not known whether all is stored; repeating the call is safe.
        """
        records = [
            record
            for report in reports
            if isinstance(report, ReceiptReport)
            and (record := receipt_record(report, self._worker.settings)) is not None
        ]
        if records:
            await asyncio.gather(*(self._publishing.call(record, 1, self._publish_timeout_s) for record in records))
        for report in reports:
            if not isinstance(report, ReceiptReport):
                stopped = await apply_address_report(report, self._worker.preferences.stops, self._was_applied)
                if stopped is not None:
                    await tell_regions(self._worker, stopped)

    async def _was_applied(self, identity: str, bucket: int, detail: str) -> bool:
        """Whether the history of an address has a choice by this message."""
        worker = self._worker
        with mongo_call(f"history of bucket {bucket}", worker.settings.outbox.transaction_timeout_s):
            return await has_consent(worker.shards.collection(CONSENTS, bucket), bucket, identity, detail)

    async def _publish(self, records: Sequence[OutboxRecord]) -> Sequence[None]:
        by_place: dict[tuple[str, int], list[OutboxRecord]] = {}
        for record in records:
            by_place.setdefault(record[:2], []).append(record)
        await asyncio.gather(*(publish_directly(self._worker, some) for some in by_place.values()))
        return [None] * len(records)


def receipt_record(report: ReceiptReport, settings: Settings) -> OutboxRecord | None:
    """The record for `receipts` of this region, or for the forward role; None for a region or bucket that there is not.

    The bucket only spreads receipts: another region may have more, and this one may have grown since.
    """
    if report.region not in settings.regions or report.bucket < 0:
        metrics.UNKNOWN_RECEIPTS.inc()
        return None
    value, partition = _encode(report.receipt), report.bucket % settings.partitions
    if report.region == settings.region:
        return RECEIPTS, partition, None, value, []
    headers = forwarded_headers((), settings.region, RECEIPTS)
    return forward_topic(report.region), partition, None, value, headers


async def apply_address_report(
    report: AddressReport, stops: Stops, was_applied: Callable[[str, int, str], Awaitable[bool]]
) -> PreferenceUpdate | None:
    """Suppress the address, or take a stop back; returns what the other regions should know at once.

    A START that is sent again must not undo a later STOP, so it counts once, and not at all if it is older than a stored STOP.
    `was_applied`: whether the history of an address (id, bucket) has a choice with this detail.

    Raises:
        RetryLater: see `ReportStore.store`; or addresses cannot be suppressed, so the sender must keep the report.
    """
    channel, address, detail = report.channel, report.address, fitting_detail(report.detail)
    stopped: PreferenceUpdate | None = None
    try:
        match report.event:
            case AddressEvent.ALLOWED:
                if not await was_applied(*stops.identity_of(channel, address), detail):
                    await stops.allow_address(channel, address, detail, at=report.at)
            case AddressEvent.STOPPED:
                source = ChoiceSource.PROVIDER_OPT_OUT if report.by_provider else None
                stopped = await stops.suppress_address(channel, address, "stopped", detail, source)
            case AddressEvent.COMPLAINT:
                stopped = await stops.suppress_address(channel, address, "complaint", detail)
            case AddressEvent.BOUNCED:
                stopped = await stops.suppress_address(channel, address, "bounced", detail)
    except Refused as error:
        raise RetryLater(str(error)) from error
    metrics.ADDRESS_REPORTS.labels(channel, report.event.value).inc()
    return stopped
