"""Rules about providers: failing, hanging, paused, refusing our credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.web.verdict.problem import FoundProblem, ProblemCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from notify_streams.delivery.provider_state import ProviderState
    from notify_streams.web.verdict.observation import Observation, ProviderCalls
    from notify_streams.web.verdict.region_status import WorkerStatus

#: Fewer failed calls within the window say nothing about the provider. The circuit breaker opens at as many.
_MIN_FAILED: Final = 5
_NOT_CALLED: Final = ("open", "probing")
_TIMEOUTS: Final = ("timeout", "noconnection")


def credential_problems(workers: Iterable[WorkerStatus]) -> Iterator[FoundProblem]:
    """Providers that refuse our key or password."""
    for provider, problem in _merged(one.credential_problems for one in _states(workers)):
        text = f"Provider {provider} refuses our credential ({problem}); its messages wait."
        yield FoundProblem(ProblemCode.CREDENTIAL, f"provider {provider}", text)


def platform_problems(workers: Iterable[WorkerStatus]) -> Iterator[FoundProblem]:
    """Providers that have no valid key of ours for one platform."""
    for provider, problem in _merged(one.platform_problems for one in _states(workers)):
        text = (
            f"Provider {provider} has no valid key of ours for one platform ({problem}); messages to its devices wait."
        )
        yield FoundProblem(ProblemCode.PLATFORM_KEY, f"provider {provider}", text)


def provider_problems(seen: Observation) -> Iterator[FoundProblem]:
    """Providers that answer most calls with an error, or not at all, or that an operator has paused."""
    states: dict[str, list[ProviderState]] = {}
    refusing: set[str] = set()
    for state in _states(seen.workers):
        refusing |= state.credential_problems.keys()
        for one in (state, *state.further):
            states.setdefault(one.provider, []).append(one)
    calls = {} if seen.rates is None else seen.rates.providers
    for provider in sorted(states.keys() | calls.keys()):
        about, known = f"provider {provider}", states.get(provider, [])
        if any(one.state == "paused" for one in known):
            text = f"Provider {provider} is not called: an operator has paused it."
            yield FoundProblem(ProblemCode.PROVIDER_PAUSED, about, text)
        ends = calls.get(provider)
        stopped = sum(one.state in _NOT_CALLED for one in known)
        if provider in refusing or (not stopped and not is_failing(ends)):
            continue
        code = ProblemCode.PROVIDER_HANGING if is_hanging(ends) else ProblemCode.PROVIDER_FAILING
        yield FoundProblem(code, about, _text(provider, ends, stopped, len(known)))


def _states(workers: Iterable[WorkerStatus]) -> Iterator[ProviderState]:
    """Of the workers that call providers."""
    for worker in workers:
        if worker.summary is not None and worker.summary.provider_state is not None:
            yield worker.summary.provider_state


def _merged(problems: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Provider and problem, by provider; of several workers what the last one says."""
    found: dict[str, str] = {}
    for one in problems:
        found |= one
    return sorted(found.items())


def is_failing(ends: ProviderCalls | None) -> bool:
    """Whether at least half of the calls failed."""
    failed = 0 if ends is None else sum(ends.failed.values())
    return ends is not None and failed >= _MIN_FAILED and failed >= ends.answered


def is_hanging(ends: ProviderCalls | None) -> bool:
    """Whether most failed calls had no answer in time."""
    if ends is None or not ends.failed:
        return False
    silent = sum(count for end, count in ends.failed.items() if _is_timeout(end))
    return 2 * silent > sum(ends.failed.values())


def _is_timeout(end: str) -> bool:
    return any(name in end.lower() for name in _TIMEOUTS)


def _text(provider: str, ends: ProviderCalls | None, stopped: int, workers: int) -> str:
    breaker = "" if not stopped else f"; the circuit breaker is open on {stopped} of {workers} workers"
    if ends is None or not ends.failed:
        return f"Provider {provider} is not called{breaker or ', because calls have failed'}."
    end, count = max(ends.failed.items(), key=lambda one: one[1])
    total = ends.answered + sum(ends.failed.values())
    if is_hanging(ends):
        return f"Provider {provider} does not answer: {count} of the last {total} calls had no answer in time{breaker}."
    return f"Provider {provider} fails: {count} of the last {total} calls ended with {end}{breaker}."


def affected(found: Sequence[FoundProblem]) -> bool:
    """Whether a provider is the cause of what these say."""
    return any(
        one.code in (ProblemCode.PROVIDER_FAILING, ProblemCode.PROVIDER_HANGING, ProblemCode.CREDENTIAL)
        for one in found
    )
