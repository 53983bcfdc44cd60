"""Notifications that this worker committed lately: most repeats of a trigger come soon, and are then found without the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_GENERATION: Final = 50_000


class DedupCache:
    """Id -> fingerprint of at least the last `_GENERATION` notifications, and at most twice as many and a batch."""

    def __init__(self) -> None:
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def add(self, fingerprints: Mapping[str, int]) -> None:
        """Remember what one batch brought."""
        if len(self._young) >= _GENERATION:
            self._old, self._young = self._young, {}
        self._young.update(fingerprints)

    def get(self, identity: str) -> int | None:
        """The fingerprint, or None if it is not known here (it may exist all the same)."""
        found = self._young.get(identity)
        return self._old.get(identity) if found is None else found
