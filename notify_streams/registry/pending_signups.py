"""Homes that sign-ups name before the locations table does: contacts that come meanwhile must know where to go.

In: sign-ups as they come. Out: the newest home that this worker knows of. Bounded: whoever is forgotten has been in the table for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.records.user_records import Signup
    from notify_streams.registry.signup_decision import KnownHome

_KEPT: Final = 50_000


class PendingSignups:
    """`located` is the table's answer, which counts unless a sign-up is newer."""

    def __init__(self, located: Callable[[str], KnownHome | None]) -> None:
        self._located = located
        self._signups: dict[str, Signup] = {}

    def note(self, signup: Signup) -> None:
        """Remember a sign-up; the oldest is forgotten for it."""
        held = self._signups.pop(signup.user_id, None)
        self._signups[signup.user_id] = held if held is not None and held.version > signup.version else signup
        if len(self._signups) > _KEPT:
            del self._signups[next(iter(self._signups))]

    def home(self, user_id: str) -> str | None:
        """The person's home region, None for somebody of whom nothing is known."""
        known, signup = self._located(user_id), self._signups.get(user_id)
        if signup is not None and (known is None or signup.version > known.version):
            return signup.region
        return None if known is None else known.region
