"""Users who became known to this worker within the last minute."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Their contacts may follow: they are in another topic than sign-ups.
RECENT_S: Final = 60.0
_KEPT: Final = 200_000
#: So many that are too old are removed when one is added.
_AT_ONCE: Final = 2


class RecentUsers:
    """The last 200,000 users of the last minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def add(self, user_id: str, age_s: float = 0.0) -> None:
        """The user became known so long ago."""
        now = self._clock()
        self._since.setdefault(user_id, now - age_s)
        for oldest, since in list(islice(self._since.items(), _AT_ONCE)):
            if len(self._since) > _KEPT or since < now - RECENT_S:
                del self._since[oldest]

    def __contains__(self, user_id: object) -> bool:
        since = self._since.get(user_id) if isinstance(user_id, str) else None
        return since is not None and since >= self._clock() - RECENT_S
