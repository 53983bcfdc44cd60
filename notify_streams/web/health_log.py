"""Looks for what is wrong with a worker, for its log.

What is wrong is what `/ready` says, and also that Kafka does not answer, and that the clock of the machine was set.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, Final

from notify_streams import tasks
from notify_streams.transport import kafka_silent_s
from notify_streams.web.health import health_of
from notify_streams.web.problem_log import ProblemLog

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp

log = logging.getLogger(__name__)

_EVERY_S: Final = 1.0
#: Kafka is asked every 5 s.
_SILENT_S: Final = 12.0
#: A clock that is corrected moves less in a second.
_CLOCK_STEP_S: Final = 0.5
#: What changes while a problem lasts: for how long, how many.
_NUMBERS: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)*")


class ClockSteps:
    """Finds out whether the clock of this machine was set."""

    def __init__(self, wall: float, monotonic: float) -> None:
        self._ahead = wall - monotonic

    def look(self, wall: float, monotonic: float) -> None:
        """Log a step since the last look."""
        ahead = wall - monotonic
        step_s, self._ahead = ahead - self._ahead, ahead
        if abs(step_s) >= _CLOCK_STEP_S:
            log.warning(
                "the clock of this machine was set %s",
                "forward" if step_s > 0 else "back",
                extra={"action": "clock.step", "by_s": round(step_s, 1)},
            )


class HealthLog:
    """Looks at one worker every second."""

    def __init__(self, worker: NotifyApp) -> None:
        self._worker = worker
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await tasks.stop([self._task])

    async def _run(self) -> None:
        problems, clock = ProblemLog(), ClockSteps(time.time(), time.monotonic())
        while True:
            await asyncio.sleep(_EVERY_S)
            clock.look(time.time(), time.monotonic())
            try:
                problems.look({_NUMBERS.sub("#", one): one for one in problems_of(self._worker)}, time.monotonic())
            except Exception:  # the log must not end because one look failed
                log.exception("the worker's health is not known", extra={"action": "health.defect"})


def problems_of(worker: NotifyApp) -> list[str]:
    """What is wrong with a worker now, in sentences without personal data."""
    found = list(health_of(worker).waiting_for)
    if kafka_silent_s(worker) >= _SILENT_S:
        found.append(f"Kafka at {worker.settings.kafka} does not answer")
    return found
