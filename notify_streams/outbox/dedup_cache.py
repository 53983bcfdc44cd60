"""Cache of recent fingerprints: finds most duplicates without a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Entries in the current generation before it becomes the old one, which is then dropped.
GENERATION: Final = 50_000


class DedupCache:
    """Notification id → fingerprint: at least the last 50,000, at most twice as many and a batch."""

    def __init__(self) -> None:
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def add(self, fingerprints: Mapping[str, int]) -> None:
        """Add the notifications of one batch."""
        if len(self._young) >= GENERATION:
            self._old, self._young = self._young, {}
        self._young.update(fingerprints)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, notification_id: str) -> int | None:
        """The fingerprint, or None if it is not in the cache (the notification may exist)."""
        found = self._young.get(notification_id)
        return self._old.get(notification_id) if found is None else found
