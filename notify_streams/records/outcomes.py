"""The closed lists of outcomes, delivery states and reasons."""

from __future__ import annotations

from enum import StrEnum


class TriggerOutcome(StrEnum):
    """What became of a trigger: exactly one."""

    NOTIFIED = "notified"
    FORWARDED = "forwarded"
    REPARTITIONED = "repartitioned"
    DEAD = "dead"
    DUPLICATE = "duplicate"
    #: Its user is not known yet: it is read again by a timer.
    WAITING = "waiting"


class DeadReason(StrEnum):
    """Why a trigger became a dead letter."""

    NOT_JSON = "not_json"
    INVALID = "invalid"
    UNKNOWN_CATEGORY = "unknown_category"
    UNKNOWN_TEMPLATE = "unknown_template"
    #: The trigger's data lacks a value that its template needs.
    MISSING_VARIABLE = "missing_variable"
    CATEGORY_NOT_ALLOWED = "category_not_allowed"
    UNKNOWN_USER = "unknown_user"
    TOO_LARGE = "too_large"
    ID_CONFLICT = "id_conflict"
    TOO_MANY_HOPS = "too_many_hops"
    BAD_RECORD = "bad_record"


class DeliveryState(StrEnum):
    """A delivery's state. `QUEUED` and `RETRYING` are open, the others final, but a receipt makes ``sent`` ``delivered`` or ``failed``."""

    SUPPRESSED = "suppressed"
    DEFERRED = "deferred"
    QUEUED = "queued"
    RETRYING = "retrying"
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
    DEAD_TOKEN = "dead_token"
    #: The text could not be made: no such template, data that does not fit it, nothing to say.
    RENDERING = "rendering"
    #: The rendered message is larger than its provider takes. Nothing was sent.
    TOO_LARGE = "too_large"
    #: The contact is none that the channel's provider takes. Nothing was sent.
    BAD_ADDRESS = "bad_address"
    #: Of the address: its owner sent STOP, or opted out with the provider.
    STOPPED = "stopped"
    #: Of the address: its owner marked a mail as spam.
    COMPLAINT = "complaint"
    #: Of the address: its mail server said that it does not exist.
    BOUNCED = "bounced"
    TEST = "test"
    #: The person was erased.
    ERASED = "erased"
    #: A newer message with its collapse key was sent before this one could be sent again.
    SUPERSEDED = "superseded"
    #: Its message was lost with Kafka, or left out when the region was restored from backups.
    LOST = "lost"
