"""Bodies of requests that are no structs in the product: forms and events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from notify_streams.delivery.providers.generic_receipts import AddressData, DeliveryData

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class LoginForm(msgspec.Struct):
    """The read token or the write token."""

    token: str


class ChoiceForm(msgspec.Struct):
    """A button of a person's page."""

    opted_in: Literal["true", "false"]


class PreferenceForm(msgspec.Struct):
    """The boxes with a tick, those that had one when the page was made, and the button. A box is `<number of the category>.<channel>`."""

    on: list[str] = []
    was: list[str] = []
    action: Literal["save", "stop_all"] = "save"


class OneClickForm(msgspec.Struct):
    """RFC 8058 §3.1. Whatever a POST has, the token is what gives the right."""

    one_click: Literal["One-Click"] = msgspec.field(name="List-Unsubscribe", default="One-Click")


class TwilioForm(msgspec.Struct, rename="pascal"):
    """A status callback, or a message that a person sent. The fields that are read; Twilio sends and signs more."""

    message_sid: str | None = None
    message_status: str | None = None
    sms_status: str | None = None
    error_code: str | None = None
    to: str | None = None
    from_: str | None = msgspec.field(name="From", default=None)
    body: str | None = None
    opt_out_type: str | None = None


class DeliveryEvent(msgspec.Struct):
    """A provider's report about an accepted message."""

    type: Literal["delivery.delivered", "delivery.failed"]
    data: DeliveryData
    #: without it the signed time
    timestamp: _Instant | None = None


class AddressEvent(msgspec.Struct):
    """What the owner of an address wants, or what became of it."""

    type: Literal["address.stopped", "address.allowed", "address.complaint", "address.bounced"]
    data: AddressData
    timestamp: _Instant | None = None


class AcceptedReports(msgspec.Struct):
    """The answer to a webhook: how many reports were applied."""

    accepted: int


class AppliedStop(msgspec.Struct):
    """Every check that begins from now on sees it."""

    applied: bool
