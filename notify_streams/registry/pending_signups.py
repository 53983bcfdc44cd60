"""Home regions from sign-ups that the locations table does not hold yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from notify_streams.records.user_records import Signup
    from notify_streams.registry.signup_decision import KnownHome

#: Enough that a forgotten sign-up has reached the table long before.
_MAX_SIGNUPS: Final = 50_000


class PendingSignups:
    """The newest sign-up of each of the last users.

    Args:
        regions: the only home regions that count. A sign-up for another one will be refused, and no topic leads there.
        locate: looks into the table, whose row wins unless a sign-up is newer.
    """

    def __init__(self, regions: Collection[str], locate: Callable[[str], KnownHome | None]) -> None:
        self._regions = frozenset(regions)
        self._locate = locate
        self._signups: dict[str, Signup] = {}

    def add(self, signup: Signup) -> None:
        """Remember a sign-up; the oldest one is forgotten."""
        if signup.region not in self._regions:
            return
        known = self._signups.pop(signup.user_id, None)
        self._signups[signup.user_id] = known if known is not None and known.version > signup.version else signup
        if len(self._signups) > _MAX_SIGNUPS:
            del self._signups[next(iter(self._signups))]

    def home(self, user_id: str) -> str | None:
        """The user's home region; None for an unknown user."""
        row, signup = self._locate(user_id), self._signups.get(user_id)
        if signup is not None and (row is None or signup.version > row.version):
            return signup.region
        return None if row is None else row.region
