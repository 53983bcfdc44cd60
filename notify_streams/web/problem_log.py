"""Logs what begins to be wrong, and its end: one line each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

log = logging.getLogger(__name__)

#: A step of a start or of a rebalance that takes longer is a problem.
STEP_S: Final = 10.0


class ProblemLog:
    """Compares what is wrong now with what was wrong before."""

    def __init__(self) -> None:
        #: Key → sentence, and when it was true first (monotonic).
        self._lasting: dict[str, tuple[str, float]] = {}
        #: Keys whose begin is logged.
        self._logged: set[str] = set()

    def look(self, problems: Mapping[str, str], now: float, steps: Collection[str] = ()) -> None:
        """Log what has begun and what has ended.

        Args:
            problems: key → sentence without personal data. One that lasts keeps its key.
            now: monotonic.
            steps: keys of what belongs to each start and rebalance. It is logged once it lasts longer than `STEP_S`.
        """
        for key, problem in problems.items():
            _, since = self._lasting.setdefault(key, (problem, now))
            if key not in self._logged and (key not in steps or now - since > STEP_S):
                self._logged.add(key)
                self._lasting[key] = problem, since
                log.warning("problem: %s", problem, extra={"action": "problem.begin", "what": key})
        for key in self._lasting.keys() - problems.keys():
            problem, since = self._lasting.pop(key)
            if key in self._logged:
                self._logged.remove(key)
                log.info(
                    "no longer: %s",
                    problem,
                    extra={"action": "problem.end", "what": key, "for_s": round(now - since, 1)},
                )
