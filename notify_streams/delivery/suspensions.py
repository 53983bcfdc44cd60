"""Notices that the machine was suspended.

The monotonic clock stands still meanwhile, so what was checked before seems to be as young as then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: A wall clock that was set ahead by more looks like a suspension, which costs checks. NTP slews both clocks.
_JUMP_S: Final = 0.2


class Suspensions:
    """Of the machine that this process runs on."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead = wall() - monotonic()

    def since_last_look(self) -> bool:
        """Whether the wall clock has gone ahead of the monotonic one since the last call."""
        ahead = self._wall() - self._monotonic()
        jumped = ahead > self._ahead + _JUMP_S
        self._ahead = ahead
        return jumped
