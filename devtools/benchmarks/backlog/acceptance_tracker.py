"""Follows the provider log: first acceptances of notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.admin.audit.provider_log import read_provider_log

if TYPE_CHECKING:
    from collections.abc import Collection


class AcceptanceTracker:
    """Reads the growing log from where it stopped. `read_on` blocks, so call it from a thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        #: Notification id -> Unix seconds of its first acceptance.
        self.critical: dict[str, float] = {}
        #: Acceptances of critical notifications that had been accepted before.
        self.repeats = 0
        #: Unix seconds of every standard acceptance.
        self.standard: list[float] = []

    def read_on(self) -> None:
        """Read what was appended since the last call."""
        for one in read_provider_log(self._path, self._offset):
            self._offset = one.resume_at
            if not one.critical:
                self.standard.append(one.done)
            elif self.critical.setdefault(one.notification_id, one.done) != one.done:
                self.repeats += 1

    def missing(self, wanted: Collection[str]) -> list[str]:
        """The notifications of `wanted` that are not accepted yet."""
        return [notification_id for notification_id in wanted if notification_id not in self.critical]
