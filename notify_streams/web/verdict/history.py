"""The problems of the last hour: when each began and ended.

A problem lasts while it was seen within the last `HOLD_S`, so one observation without it ends nothing. Histories of several workers are
merged by taking the earliest beginning and the latest sight of each problem, so they come to the same result in any order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.web.verdict.problem import FoundProblem, PastProblem, Problem, ProblemCode, Verdict
from notify_streams.web.verdict.remedies import ORDER, REMEDIES
from notify_streams.web.verdict.rules import headline

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Observations are 5 s apart.
HOLD_S: Final = 12.0
KEPT_S: Final = 3600.0
_MAX_EPISODES: Final = 200
#: A problem is reported when it was seen for so long: one probe that was late is none.
_REPORTED_AFTER_S: Final = 3.0
_REPORTED_LATER_S: Final = {
    # A worker that starts is not ready for some seconds, and a role has no worker while all of it is rolled out.
    ProblemCode.WORKER_NOT_READY: 20.0,
    ProblemCode.ROLE_MISSING: 20.0,
    # A read that was late once is repeated 5 s later.
    ProblemCode.NOT_KNOWN: 8.0,
    # These were observed over a time already.
    ProblemCode.WORKER_GONE: 0.0,
    ProblemCode.PARTITION_STUCK: 0.0,
    ProblemCode.AGENT_STUCK: 0.0,
}


class Episode(msgspec.Struct, frozen=True):
    """One problem from its first to its last sight; Unix times in seconds."""

    code: ProblemCode
    about: str
    text: str
    since: float
    seen: float

    def is_reported(self) -> bool:
        return self.seen - self.since >= _REPORTED_LATER_S.get(self.code, _REPORTED_AFTER_S)


class ProblemHistory:
    """The episodes of a region, as one worker knows them."""

    def __init__(self) -> None:
        self._episodes: list[Episode] = []
        #: When any observer last looked.
        self._observed = 0.0

    @property
    def observed(self) -> float:
        return self._observed

    def episodes(self) -> list[Episode]:
        """Those of the last hour, the earliest first."""
        return list(self._episodes)

    def observe(self, now: float, found: Iterable[FoundProblem]) -> None:
        """Add what an observation has found. What could not be observed since, because all observers were away, goes on."""
        joins = min(now, self._observed or now) - HOLD_S
        known = {(one.code, one.about): one for one in self._episodes if one.seen >= joins}
        for one in found:
            last = known.get((one.code, one.about))
            if last is not None:
                self._episodes.remove(last)
            since = now if last is None else min(last.since, now)
            self._episodes.append(Episode(one.code, one.about, one.text, since, now))
        self._observed = now
        self._forget(now)

    def merge(self, episodes: Iterable[Episode], observed: float) -> None:
        """Add what another worker has seen, or this one before it was restarted; `observed`: when it last looked."""
        for other in episodes:
            same = next((one for one in self._episodes if _overlap(one, other)), None)
            if same is None:
                self._episodes.append(other)
            else:
                self._episodes.remove(same)
                self._episodes.append(_joined(same, other))
        self._observed = max(self._observed, observed)
        self._forget(self._observed)

    def _forget(self, now: float) -> None:
        kept = [one for one in self._episodes if now - one.seen < KEPT_S]
        kept.sort(key=lambda one: (one.since, one.code, one.about))
        # The latest are kept.
        self._episodes = kept[-_MAX_EPISODES:]

    def verdict(self, now: float) -> Verdict:
        """What is wrong now, and what was within the last hour."""
        reported = [one for one in self._episodes if one.is_reported()]
        present = sorted(
            (one for one in reported if now - one.seen <= HOLD_S),
            key=lambda one: (ORDER[one.code], one.since, one.about),
        )
        past = sorted((one for one in reported if HOLD_S < now - one.seen < KEPT_S), key=lambda one: -one.seen)
        first_line = headline([FoundProblem(one.code, one.about, one.text) for one in present])
        return Verdict(_time(now), first_line, [_problem(one) for one in present], [_past(one) for one in past])


def _overlap(one: Episode, other: Episode) -> bool:
    return (
        (one.code, one.about) == (other.code, other.about)
        and one.since <= other.seen + HOLD_S
        and other.since <= one.seen + HOLD_S
    )


def _joined(one: Episode, other: Episode) -> Episode:
    latest = max(one, other, key=lambda episode: (episode.seen, episode.text))
    return msgspec.structs.replace(latest, since=min(one.since, other.since))


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(round(at), UTC)


def _problem(one: Episode) -> Problem:
    remedy = REMEDIES[one.code]
    return Problem(one.code, one.about, one.text, _time(one.since), remedy.todo, remedy.runbook, remedy.severity)


def _past(one: Episode) -> PastProblem:
    remedy = REMEDIES[one.code]
    return PastProblem(
        one.code,
        one.about,
        one.text,
        _time(one.since),
        _time(one.seen),
        remedy.todo,
        remedy.runbook,
        remedy.severity,
    )
