"""The demo's sending rate: it follows how late critical notifications are."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from notify_streams.admin.audit.provider_log import log_invalid_line, read_provider_log
from notify_streams.records.ids import trigger_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from devtools.demo.delivery_report import SentTrigger

#: Half of what the mission promises: triggers that are under way become later still.
_LATE_S: Final = 1.0
#: The rate is raised after none took longer.
_EARLY_S: Final = 0.5
#: A machine that is too slow shows it before much is under way.
_FIRST: Final = 250.0
_RAISE: Final = 2.0
_LOWER: Final = 0.7
#: After so many early looks in a row at a rate that was lowered, a higher one is tried: the machine may have been busy with something else.
_CALM_LOOKS: Final = 6
_TRY: Final = 1.25
_LEAST: Final = 50.0
#: Between two looks; another rate takes effect after a while.
_LOOK_S: Final = 0.5
_SETTLE_S: Final = 1.5


class SendingPace:
    """When the next triggers may be sent. This machine may be too slow for the rate that was asked for."""

    def __init__(self, rate: float, provider_logs: Sequence[Path], sent: Mapping[str, SentTrigger]) -> None:
        """`rate`: triggers/s that are asked for. `sent`: by trigger id; the caller adds to it."""
        self.rate = min(rate, _FIRST)
        #: The rate asked for; after it was too much, the one it was lowered to, or a higher one that is tried.
        self.limit = rate
        self._asked = rate
        self._calm = 0
        self._sent = sent
        self._offsets = dict.fromkeys(provider_logs, 0)
        self._next_at = time.monotonic()
        self._look_at = 0.0

    async def wait(self, count: int) -> None:
        """Return when `count` triggers that were just sent have taken their time."""
        self._next_at += count / self.rate
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            if self.adapt(await asyncio.to_thread(self._worst_s)):
                self._look_at = now + _SETTLE_S
        await asyncio.sleep(self._next_at - time.monotonic())

    def adapt(self, worst_s: float | None) -> bool:
        """Raise or lower the rate, and return whether it was changed.

        `worst_s`: the longest time of a critical notification; None: none was accepted.
        """
        if worst_s is None:
            return False
        before = self.rate
        if worst_s > _LATE_S:
            self.rate = self.limit = max(min(_LEAST, self.rate), self.rate * _LOWER)
        self._calm = self._calm + 1 if worst_s <= _EARLY_S else 0
        if self._calm >= _CALM_LOOKS and self.rate == self.limit:
            self.limit = min(self._asked, self.limit * _TRY)
            self._calm = 0
        if worst_s <= _EARLY_S:
            self.rate = min(self.limit, self.rate * _RAISE)
        return self.rate != before

    def _worst_s(self) -> float | None:
        """The longest time from a trigger to its acceptance, of the critical notifications accepted since the last call."""
        worst_s = None
        for path, offset in self._offsets.items():
            for line in read_provider_log(path, offset, partial(self._skip, path)):
                self._offsets[path] = line.resume_at
                trigger = self._sent.get(trigger_of(line.notification_id)) if line.critical else None
                if trigger is not None:
                    worst_s = max(worst_s or 0.0, line.done - trigger.at)
        return worst_s

    def _skip(self, path: Path, resume_at: int) -> None:
        """Once for each invalid line: the next look begins behind it, also where no valid one follows."""
        self._offsets[path] = resume_at
        log_invalid_line(resume_at)
