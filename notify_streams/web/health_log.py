"""Looks for what is wrong with a worker, for its log.

What is wrong is what `/ready` says, and also that Kafka does not answer, and that the clock of the machine was set.
The steps of a start or a rebalance are no problem while they take seconds.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, Final

from notify_streams import tasks
from notify_streams.transport import kafka_silent_s
from notify_streams.web.health import health_of, is_step, recovering_table
from notify_streams.web.problem_log import ProblemLog

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp
    from notify_streams.web.summary import Health

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
                found, steps = problems_of(self._worker)
                problems.look(found, time.monotonic(), steps)
            except Exception:  # the log must not end because one look failed
                log.exception("the worker's health is not known", extra={"action": "health.defect"})


def problems_of(worker: NotifyApp) -> tuple[dict[str, str], set[str]]:
    """What is wrong with a worker now, in sentences without personal data, by key, and the keys of what belongs to each start."""
    state = health_of(worker)
    found = {_key(state, one): one for one in state.waiting_for}
    if kafka_silent_s(worker) >= _SILENT_S:
        silent = f"Kafka at {worker.settings.kafka} does not answer"
        found[_NUMBERS.sub("#", silent)] = silent
    return found, {key for key, one in found.items() if is_step(state, one)}


def _key(state: Health, problem: str) -> str:
    """The same for as long as the problem lasts.

    Of a table that recovers also the form of the sentence changes, with its estimate.
    """
    table = recovering_table(state, problem)
    return _NUMBERS.sub("#", problem) if table is None else f"table {table}"
