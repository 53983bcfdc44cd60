"""What providers report after the call: receipts, and what stops messages."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from notify_streams.delivery.providers.delivery_metadata import Marks
from notify_streams.delivery.receipts import Receipt
from notify_streams.roles import Channel


class AddressEvent(StrEnum):
    """What a report says about an address, whatever the message."""

    #: Its owner sent STOP, or has opted out with the provider.
    STOPPED = "stopped"
    #: Its owner sent START.
    ALLOWED = "allowed"
    COMPLAINT = "complaint"
    BOUNCED = "bounced"


class AddressReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report about an address."""

    event: AddressEvent
    channel: Channel
    address: str
    #: The provider's id of the message or event.
    detail: str
    #: The provider said so; the owner did not write to us.
    by_provider: bool = False
    #: When it happened, as the provider has signed it; None: not known.
    at: datetime | None = None

    def __repr__(self) -> str:
        """Without the address."""
        return f"AddressReport(event={self.event!r}, channel={self.channel!r})"


class ReceiptReport(msgspec.Struct, frozen=True):
    """A receipt, and the region and bucket of its delivery."""

    region: str
    bucket: int
    receipt: Receipt


Report = AddressReport | ReceiptReport


def receipt_report(
    marks: Marks,
    state: str,
    provider: str,
    at: datetime | None = None,
    *,
    code: str | None = None,
    reason: str | None = None,
    temporary: bool = False,
) -> ReceiptReport | None:
    """The report of a state; None if a field is none that a receipt may have. `at`: default: now."""
    fields = {
        "delivery_id": marks.delivery_id,
        "attempt": marks.attempt,
        "state": state,
        "provider": provider,
        "at": at or datetime.now(UTC),
        "code": code,
        "reason": reason,
        "temporary": temporary,
    }
    try:
        receipt = msgspec.convert(fields, Receipt)
    except msgspec.ValidationError:
        return None
    return ReceiptReport(marks.region, marks.bucket, receipt)
