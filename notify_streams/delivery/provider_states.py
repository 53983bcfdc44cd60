"""The states of a worker's providers, and one log line for each change."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import metrics
from notify_streams.delivery.breaker import BreakerState
from notify_streams.delivery.provider_state import ProviderState
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder

log = logging.getLogger(__name__)

_CREDENTIAL_FAILS: Final = (
    "calls fail because of the credential; their deliveries are retried until they expire: "
    "`notify-streams providers check` says what is wrong"
)
#: A platform counts as refused until no call has said so for this time: calls for other platforms are taken meanwhile, and one message that
#: waits may be tried every 600 s.
_PLATFORM_REFUSED_S: Final = 900.0


class ProviderStates:
    """Whether each provider of `order` is called, and why not."""

    def __init__(self, order: ProviderOrder) -> None:
        self._order = order
        #: What an operator has paused: providers, and categories of channels.
        self.paused: frozenset[str] = frozenset()
        #: The state of each provider in the last log line about it.
        self._logged: dict[str, str] = {}
        #: How the last failed call of each provider ended.
        self._last_failures: dict[str, str] = {}
        #: See `ProviderState`.
        self._credential_problems: dict[str, str] = {}
        #: How and when (monotonic) the last call of each provider ended that was refused for a platform.
        self._platform_problems: dict[str, tuple[str, float]] = {}

    def current(self, paused_categories: Iterable[str]) -> ProviderState:
        """The present state of the first provider, with those of the others; without I/O."""
        first, *others = self._each(time.monotonic())
        return msgspec.structs.replace(
            first,
            credential_problems=dict(self._credential_problems),
            platform_problems={provider: how for provider, (how, _) in self._platform_problems.items()},
            further=tuple(others),
            paused_categories=sorted(paused_categories),
        )

    def pause(self, names: Collection[str]) -> None:
        """These are paused, and no others."""
        self.paused = frozenset(names)
        for one in self._order.providers:
            one.paused = one.name in self.paused

    def failed(self, provider: str, how: str) -> None:
        """A call has failed. `how`: for the log line, if calls stop."""
        self._last_failures[provider] = how

    def log_changes(self) -> None:
        """One log line when calls to a provider stop, and one when they go on; forgets what was refused long ago."""
        now = time.monotonic()
        self._forget_platforms(now - _PLATFORM_REFUSED_S)
        for one in self._each(now):
            state = BreakerState.OPEN.value if one.state == BreakerState.PROBING else one.state
            if state == self._logged.get(one.provider, BreakerState.CLOSED.value):
                continue
            is_stopped = state in (BreakerState.OPEN, "paused")
            metrics.PROVIDER_OPEN.labels(one.provider).set(is_stopped)
            why = {"why": self._last_failures.get(one.provider, "")} if state == BreakerState.OPEN else {}
            log.log(
                logging.WARNING if is_stopped else logging.INFO,
                "calls to the provider stop" if is_stopped else "calls to the provider go on",
                extra={"action": "provider.state", "provider": one.provider, "state": state, **why},
            )
            self._logged[one.provider] = state

    def note_credential(self, result: ProviderResult) -> None:
        """One log line when a provider begins to refuse the credential, and one when it takes it."""
        if result.platform_refused:
            self._note_platform(result)
            return
        if result.outcome is ProviderOutcome.RETRY:
            if not result.credential_refused:
                return
            is_new = result.provider not in self._credential_problems
            problem: str | None = result.detail
            self._credential_problems[result.provider] = result.detail
        else:
            problem = None
            is_new = result.begun and self._credential_problems.pop(result.provider, None) is not None
        if is_new:
            log.log(
                logging.INFO if problem is None else logging.ERROR,
                "the provider takes the credential" if problem is None else _CREDENTIAL_FAILS,
                extra={"action": "provider.credential", "provider": result.provider, "code": problem},
            )

    def _note_platform(self, result: ProviderResult) -> None:
        if result.provider not in self._platform_problems:
            log.error(
                "the provider has no valid key of ours for one platform: calls for its addresses are retried until they expire",
                extra={"action": "provider.platform", "provider": result.provider, "code": result.detail},
            )
        self._platform_problems[result.provider] = result.detail, time.monotonic()

    def _forget_platforms(self, before: float) -> None:
        for provider in [one for one, (_, at) in self._platform_problems.items() if at < before]:
            del self._platform_problems[provider]
            log.info(
                "no call was refused for one platform lately",
                extra={"action": "provider.platform_forgotten", "provider": provider, "seconds": _PLATFORM_REFUSED_S},
            )

    def _each(self, now: float) -> Iterator[ProviderState]:
        yield from (_state_of(one, now) for one in self._order.providers)
        for name, limit in self._order.of_devices.items():
            yield limit.state(now, paused=name in self.paused)


def _state_of(provider: CalledProvider, now: float) -> ProviderState:
    state = provider.state(now)
    open_for_s = provider.breaker.open_for_s(now) if state == BreakerState.OPEN else 0.0
    return ProviderState(
        provider.name, state, round(open_for_s, 1), provider.calls, calls_per_s=provider.budget.calls_per_s
    )
