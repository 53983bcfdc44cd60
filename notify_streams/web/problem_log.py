"""Logs what begins to be wrong, and its end: one line each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


class ProblemLog:
    """Compares what is wrong now with what was wrong before."""

    def __init__(self) -> None:
        #: Key → sentence, and when it was true first (monotonic).
        self._lasting: dict[str, tuple[str, float]] = {}

    def look(self, problems: Mapping[str, str], now: float) -> None:
        """Log what has begun and what has ended.

        Args:
            problems: key → sentence without personal data. One that lasts keeps its key.
            now: monotonic.
        """
        for key, problem in problems.items():
            if key not in self._lasting:
                self._lasting[key] = problem, now
                log.warning("problem: %s", problem, extra={"action": "problem.begin", "what": key})
        for key in self._lasting.keys() - problems.keys():
            problem, since = self._lasting.pop(key)
            log.info(
                "no longer: %s", problem, extra={"action": "problem.end", "what": key, "for_s": round(now - since, 1)}
            )
