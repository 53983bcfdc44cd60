"""Reports of any other system, by Standard Webhooks.

The body is ``{"type", "timestamp", "data"}``.
``delivery.delivered`` and ``delivery.failed``: `data` has `delivery_id`, `region`, `bucket`, and may have `attempt`, `provider`, `code`,
`reason`, `temporary`; the first four are marks of the message. ``address.stopped``, ``address.allowed``, ``address.complaint`` and
``address.bounced``: `data` has `channel` and `address`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from notify_streams.delivery.providers.delivery_metadata import Marks
from notify_streams.delivery.providers.reports import AddressEvent, AddressReport, Report, receipt_report
from notify_streams.field_errors import DECODE_ERRORS, problem_of
from notify_streams.records.addresses import is_phone_number, mailbox
from notify_streams.roles import Channel

_Number = Annotated[int, msgspec.Meta(ge=0, le=999_999)]


class _Event(msgspec.Struct):
    type: str
    data: msgspec.Raw
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class DeliveryData(msgspec.Struct):
    """`data` of an event of a delivery. The first four are marks of the message."""

    delivery_id: str
    region: str
    bucket: _Number
    attempt: _Number = 0
    provider: str = "generic"
    code: str | None = None
    reason: str | None = None
    temporary: bool = False


class AddressData(msgspec.Struct):
    """`data` of an event of an address."""

    channel: Channel
    address: str


_read: Final = msgspec.json.Decoder(_Event).decode
_read_delivery: Final = msgspec.json.Decoder(DeliveryData).decode
_read_address: Final = msgspec.json.Decoder(AddressData).decode
#: No receipt and no choice has an earlier time.
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATES: Final = {"delivery.delivered": "delivered", "delivery.failed": "failed"}
_EVENTS: Final = {f"address.{event}": event for event in AddressEvent}


class InvalidReport(Exception):
    """The content is none of these reports. Its text says what is wrong, without a value."""


def generic_reports(body: bytes, webhook_id: str, at: datetime) -> list[Report]:
    """What a webhook reports; `at`: its signed time. An event of another type reports nothing.

    Raises:
        InvalidReport: see there.
    """
    kind: type[_Event | DeliveryData | AddressData] = _Event
    try:
        event = _read(body)
        if event.timestamp is not None and event.timestamp < _EPOCH:
            raise InvalidReport("`timestamp` is before 1970")
        if event.type in _STATES:
            kind = DeliveryData
            return _receipt(event, at)
        if event.type in _EVENTS:
            kind = AddressData
            return _about(event, webhook_id, event.timestamp or at)
    except DECODE_ERRORS as error:
        problem = problem_of(error, kind)
        raise InvalidReport((problem if kind is _Event else problem.inside("data")).sentence("the body")) from error
    return []


def _receipt(event: _Event, at: datetime) -> list[Report]:
    data = _read_delivery(event.data)
    marks = Marks(data.delivery_id, data.attempt, data.region, data.bucket)
    report = receipt_report(
        marks,
        _STATES[event.type],
        data.provider,
        event.timestamp or at,
        code=data.code,
        reason=data.reason,
        temporary=data.temporary,
    )
    if report is None:
        raise InvalidReport("a field of `data` is none that a receipt may have")
    return [report]


def _about(event: _Event, webhook_id: str, at: datetime) -> list[Report]:
    data = _read_address(event.data)
    is_sms = data.channel == "sms" and is_phone_number(data.address)
    is_email = data.channel == "email" and mailbox(data.address) is not None
    if not is_sms and not is_email:
        raise InvalidReport("`data.channel` must be sms or email, and `data.address` an address of it")
    detail = f"generic {webhook_id}"
    return [AddressReport(event=_EVENTS[event.type], channel=data.channel, address=data.address, detail=detail, at=at)]
