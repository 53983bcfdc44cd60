"""Home regions from sign-ups that the locations table does not hold yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from notify_streams.records.user_records import Signup
    from notify_streams.registry.signup_decision import KnownHome

#: Enough that a sign-up has reached the table long before it is forgotten, unless its shard does not answer.
_MAX_SIGNUPS: Final = 50_000
#: Of the oldest, those that have not reached the table are kept until there are so many.
_MAX_WITH_WAITING: Final = 4 * _MAX_SIGNUPS


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
        """Remember a sign-up; the oldest one that has reached the table is forgotten."""
        if signup.region not in self._regions:
            return
        known = self._signups.pop(signup.user_id, None)
        self._signups[signup.user_id] = known if known is not None and known.version > signup.version else signup
        # Two looks at each new one: those that wait become the newest ones, and do not keep the others from being forgotten.
        for _ in range(2):
            if len(self._signups) <= _MAX_SIGNUPS:
                break
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        user_id = next(iter(self._signups))
        oldest, row = self._signups.pop(user_id), self._locate(user_id)
        is_waiting = row is None or row.version < oldest.version
        if is_waiting and len(self._signups) < _MAX_WITH_WAITING:
            self._signups[user_id] = oldest

    def home(self, user_id: str) -> str | None:
        """The user's home region; None for an unknown user."""
        row, signup = self._locate(user_id), self._signups.get(user_id)
        if signup is not None and (row is None or signup.version > row.version):
            return signup.region
        return None if row is None else row.region
