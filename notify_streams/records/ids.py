"""Derives ids from their input: the same trigger always has the same ids.

A trigger's identity is its system (that of the topic on which it entered), the CloudEvents source if it has one, its id and the user.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

#: Against ids that are made to collide with those of another system.
_DIGEST_BYTES: Final = 12
#: Length of the hyphen and the digest.
_SUFFIX: Final = 1 + 2 * _DIGEST_BYTES


def notification_id(trigger_id: str, user_id: str, system: str, source: str = "") -> str:
    """``<trigger id>-<96 bits of the BLAKE2b of system, source and user id>``.

    It begins with the trigger id: time-ordered trigger ids (UUIDv7) then keep one end of MongoDB's `_id` index in memory, and all
    notifications of a trigger are one range.
    """
    # The lengths keep the parts apart, whatever characters they have.
    others = f"{len(system)}:{len(source)}:{system}{source}{user_id}"
    return f"{trigger_id}-{blake2b(others.encode(), digest_size=_DIGEST_BYTES).hexdigest()}"


def delivery_id(notification: str, channel: str) -> str:
    """``<notification id>.<channel>``."""
    return f"{notification}.{channel}"


def split_delivery_id(delivery: str) -> tuple[str, str]:
    """Notification id and channel of a delivery id."""
    notification, _, channel = delivery.rpartition(".")
    return notification, channel


def trigger_of(notification: str) -> str:
    """The trigger id within a notification id."""
    return notification[:-_SUFFIX]
