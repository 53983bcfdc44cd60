"""Rates over all workers: what their counters grew by within the last half minute."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from notify_streams.delivery.providers.provider import ProviderOutcome
from notify_streams.web.verdict.observation import ProviderCalls, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.web.summary import Summary

#: Long enough for a rate, short enough for an end that is seen within a minute.
WINDOW_S: Final = 30.0
#: Of fewer critical messages a hundredth is no message.
_MIN_CRITICAL: Final = 20
_CRITICAL: Final = "critical"
_FAILED: Final = ("failed", "expired")
#: The person has another number or device now: this is no failure of ours.
_OLD_ADDRESS: Final = ("dead_token", "bad_address")
#: A provider that refuses our credential is another problem.
_CREDENTIAL: Final = ("HTTP 401", "HTTP 403")
#: The circuit breaker or the limit kept the call back: it says nothing about the provider, and would hide what does.
_NOT_CALLED: Final = "not called"


@dataclass(frozen=True, slots=True)
class _Counts:
    """The counters of one worker at one time."""

    at: float
    #: (kind, label, …) → count
    values: Counter[tuple[str, ...]]
    #: Upper bound in seconds → critical messages up to it.
    critical: Mapping[str, int] = field(default_factory=dict)


class CounterWindow:
    """The counters of each worker within the window. Times are seconds of one monotonic clock."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._known: dict[str, deque[_Counts]] = {}

    def add(self, now: float, summaries: Mapping[str, Summary]) -> None:
        """Add what the workers have just reported, by worker id."""
        for worker, summary in summaries.items():
            known = self._known.setdefault(worker, deque())
            if not known and summary.uptime_s < self._window_s:
                known.append(_Counts(now - summary.uptime_s, Counter()))
            known.append(_Counts(now, _values(summary), summary.to_provider_counts.get(_CRITICAL, {})))
        begin = now - self._window_s
        for worker, known in list(self._known.items()):
            while len(known) > 1 and known[1].at <= begin:
                known.popleft()
            if known[-1].at <= begin:
                del self._known[worker]

    def rates(self) -> Rates:
        """What the counters of all workers grew by."""
        grown: Counter[tuple[str, ...]] = Counter()
        critical: Counter[float] = Counter()
        for known in self._known.values():
            first, last = known[0], known[-1]
            grown.update({key: count - first.values[key] for key, count in last.values.items()})
            for bound, count in last.critical.items():
                critical[float(bound)] += count - first.critical.get(bound, 0)
        return Rates(
            self._window_s,
            providers=_provider_calls(grown),
            ended=_sums(grown, "ended"),
            failed=_sums(grown, "failed"),
            triggers=grown["triggers",],
            dead=_sums(grown, "dead"),
            critical_p50_s=_quantile(critical, 0.5),
            critical_p99_s=_quantile(critical, 0.99),
        )


def _values(summary: Summary) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    found["triggers",] = sum(summary.triggers.values())
    for reason, count in summary.dead_letters.items():
        found["dead", reason] = count
    for one in summary.deliveries:
        found["ended", one.channel] += one.count
        if one.state in _FAILED and one.reason not in _OLD_ADDRESS:
            found["failed", one.channel] += one.count
    for end in summary.provider_ends:
        if end.outcome == ProviderOutcome.RETRY and not end.end.startswith((*_CREDENTIAL, _NOT_CALLED)):
            found["call failed", end.provider, end.end] += end.count
        elif end.outcome in (ProviderOutcome.ACCEPTED, ProviderOutcome.REJECTED, ProviderOutcome.DEAD_TOKEN):
            found["call answered", end.provider] += end.count
    return found


def _sums(grown: Counter[tuple[str, ...]], kind: str) -> dict[str, int]:
    return {key[1]: count for key, count in grown.items() if key[0] == kind and count > 0}


def _provider_calls(grown: Counter[tuple[str, ...]]) -> dict[str, ProviderCalls]:
    failed: dict[str, dict[str, int]] = {}
    for key, count in grown.items():
        if key[0] == "call failed" and count > 0:
            failed.setdefault(key[1], {})[key[2]] = count
    answered = _sums(grown, "call answered")
    return {
        provider: ProviderCalls(answered.get(provider, 0), failed.get(provider, {}))
        for provider in sorted(failed.keys() | answered.keys())
    }


def _quantile(cumulative: Mapping[float, int], share: float) -> float | None:
    """As Prometheus computes it: linear within a bucket; the largest bound above it. None: too few observations.

    `cumulative`: upper bound → count; the last bound is infinite.
    """
    total = cumulative.get(inf, 0)
    if total < _MIN_CRITICAL:
        return None
    wanted, below, begin_s = share * total, 0, 0.0
    for bound_s, count in sorted(cumulative.items()):
        if count >= wanted and bound_s != inf:
            return begin_s + (bound_s - begin_s) * (wanted - below) / (count - below)
        if bound_s != inf:
            below, begin_s = count, bound_s
    return begin_s
