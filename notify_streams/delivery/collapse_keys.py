"""Remembers what was sent by collapse key.

A retry must not replace a newer message on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.records.outcomes import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from notify_streams.delivery.partition import Delivery

_REMEMBERED: Final = 50_000


class CollapseKeys:
    """The last 50,000 (user, collapse key) pairs of this worker. Without an entry a retry is sent, as the same device would get it late."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, str], datetime] = {}

    def sent(self, delivery: Delivery) -> None:
        """A message was accepted."""
        message = delivery.message
        if message.collapse_key is None:
            return
        key = message.user_id, message.collapse_key
        before = self._sent.pop(key, None)
        self._sent[key] = message.decided_at if before is None else max(before, message.decided_at)
        if len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def superseded(self, delivery: Delivery) -> Reason | None:
        """Why a retry must not be sent: a newer message with its collapse key was."""
        message = delivery.message
        if delivery.number == 1 or message.collapse_key is None:
            return None
        newer = self._sent.get((message.user_id, message.collapse_key))
        return Reason.SUPERSEDED if newer is not None and newer > message.decided_at else None
