"""Derives ids from their input: the same trigger always has the same ids.

A trigger's identity is its system (that of the topic on which it entered), the CloudEvents source if it has one, its id and the user.
"""

from __future__ import annotations

import os
import time
from hashlib import blake2b
from typing import Final

#: Against ids that are made to collide with those of another system.
_DIGEST_BYTES: Final = 12
#: Length of the hyphen and the digest.
_SUFFIX: Final = 1 + 2 * _DIGEST_BYTES
_last_ns = 0


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


def ledger_id(role: str, topic: str, partition: int) -> str:
    """The `_id` of the ledger of a role and source partition."""
    return f"{role}:{topic}:{partition}"


def parse_ledger_id(ledger: str) -> tuple[str, int]:
    """The source (topic, partition) of a ledger's `_id`."""
    _, topic, partition = ledger.split(":")
    return topic, int(partition)


def new_flush_id(now_ns: int | None = None) -> str:
    """Unique. Grows within a process even if its clock steps back, and between processes as far as their clocks agree."""
    global _last_ns
    _last_ns = max(time.time_ns() if now_ns is None else now_ns, _last_ns + 1)
    return f"{_last_ns:016x}{os.urandom(4).hex()}"
