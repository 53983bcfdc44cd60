"""What the sandbox's record says of this run: when each critical notification was accepted first, and how many others were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.admin.audit.provider_log import read_provider_log

if TYPE_CHECKING:
    from collections.abc import Collection


class AcceptanceTracker:
    """Reads the growing record from where it stopped; blocks for as long as that takes, so call `read_on` from a thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._at = 0
        #: Unix seconds of the first acceptance, by notification.
        self.critical: dict[str, float] = {}
        #: Acceptances of critical notifications that had been accepted before.
        self.repeats = 0
        #: Unix seconds of every standard acceptance.
        self.standard: list[float] = []

    def read_on(self) -> None:
        """Take in what was written since."""
        for one in read_provider_log(self._path, self._at):
            self._at = one.resume_at
            if not one.critical:
                self.standard.append(one.done)
            elif self.critical.setdefault(one.notification_id, one.done) != one.done:
                self.repeats += 1

    def missing(self, wanted: Collection[str]) -> list[str]:
        """Those of these that were not accepted yet."""
        return [identity for identity in wanted if identity not in self.critical]
