"""The closed lists of outcomes, delivery states and reasons."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class TriggerOutcome(StrEnum):
    """What became of a trigger: exactly one of these."""

    NOTIFIED = "notified"
    FORWARDED = "forwarded"
    REPARTITIONED = "repartitioned"
    DEAD = "dead"
    DUPLICATE = "duplicate"


class DeadReason(StrEnum):
    """Why a trigger became a dead letter."""

    NOT_JSON = "not_json"
    INVALID = "invalid"
    UNKNOWN_CATEGORY = "unknown_category"
    UNKNOWN_USER = "unknown_user"
    TOO_LARGE = "too_large"
    ID_CONFLICT = "id_conflict"
    TOO_MANY_HOPS = "too_many_hops"


class DeliveryState(StrEnum):
    """A delivery's state; it only moves up (see `ORDER`)."""

    SUPPRESSED = "suppressed"
    DEFERRED = "deferred"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"


class Reason(StrEnum):
    """Why a delivery was suppressed, failed or expired."""

    OPTED_OUT = "opted_out"
    NOT_OPTED_IN = "not_opted_in"
    CHANNEL_NOT_ALLOWED = "channel_not_allowed"
    NO_CONTACT = "no_contact"
    EXPIRED = "expired"
    PROVIDER_REJECTED = "provider_rejected"
    PROVIDER_EXHAUSTED = "provider_exhausted"
    DEAD_TOKEN = "dead_token"
    TEST = "test"


#: Higher never goes back to lower. The last four are final but for a receipt that lifts ``sent`` to ``delivered`` or ``failed``.
ORDER: Final = {
    DeliveryState.DEFERRED: 0,
    DeliveryState.QUEUED: 1,
    DeliveryState.SENDING: 2,
    DeliveryState.SENT: 3,
    DeliveryState.SUPPRESSED: 4,
    DeliveryState.EXPIRED: 4,
    DeliveryState.FAILED: 4,
    DeliveryState.DELIVERED: 4,
}
