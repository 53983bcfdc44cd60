"""The providers of a channel in their order, and which of them is called next.

While the first one may be called without a limit, only it is. No I/O and no clock: times are monotonic and passed in.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any

from notify_streams.delivery.breaker import MANY_SERVERS, Breaker, BreakerState, NeverOpen, ProbedCalls
from notify_streams.delivery.providers import clients_with_budgets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from notify_streams.delivery.budget import Budget
    from notify_streams.delivery.providers import CallLimit, Provider
    from notify_streams.settings_providers import ProviderSettings


class CalledProvider:
    """One provider: its client, circuit breaker, budget and pause."""

    def __init__(self, client: Provider, budget: Budget) -> None:
        self.name = client.name
        self.client = client
        self.breaker = NeverOpen() if client.name in MANY_SERVERS else Breaker(self._opened)
        self.budget = budget
        #: An operator has paused it.
        self.paused = False
        #: Calls under way.
        self.calls = 0
        self._probed = ProbedCalls(self.breaker)
        #: Calls that the budget has paid for and that have not begun.
        self.reserved = 0
        #: The same for messages that an earlier provider refused, and that are not admitted yet. Any call may use what is left of them.
        self.promised = 0

    def state(self, now: float) -> str:
        """`paused`, or the state of its breaker."""
        return "paused" if self.paused else self.breaker.state(now).value

    def is_closed(self, now: float) -> bool:
        """Whether it may be called without a limit."""
        return not self.paused and self.breaker.state(now) is BreakerState.CLOSED

    def limit(self, now: float) -> int:
        """How many calls to it may be under way.

        Those without an answer since the breaker opened, to a mail server for a minute, hold up no probe.
        """
        if self.paused:
            return 0
        return self._probed.limit(self.calls, self.client.max_in_flight, now)

    def begin(self, calls: int) -> None:
        """So many calls begin."""
        self.calls += calls
        self._probed.begin(calls)

    def not_begun(self, calls: int) -> None:
        """So many that began, and are not under way any more, sent nothing."""
        self._probed.not_begun(calls)

    def _opened(self) -> None:
        self._probed.opened(self.calls)

    def is_paid(self, now: float) -> bool:
        """Whether its budget has paid for another call, or can."""
        return self.reserved + self.promised > 0 or self.budget.available(now) >= 1

    def promise(self, now: float) -> bool:
        """Pay for the call of a message that will be admitted soon; False if the budget cannot."""
        can_pay = self.promised < self.budget.most_at_once and self.budget.available(now) >= 1
        if can_pay:
            self.promised += 1
            self.budget.spend(1)
        return can_pay


class ProviderOrder:
    """The providers of one worker.

    `available`, `most_at_once` and `reserve` are about the one that most calls go to now. If its budget is used up, they are about an
    earlier one that may be called to a limit, so that it is probed all the same.
    """

    def __init__(self, providers: Sequence[CalledProvider], of_devices: Mapping[str, CallLimit] | None = None) -> None:
        """
        Args:
            providers: one at least, the preferred one first.
            of_devices: the limits of the push providers that are called for devices which name them.
        """
        self.providers = tuple(providers)
        self.of_devices = of_devices or {}
        self.first = self.providers[0]
        self._by_name = {one.name: one for one in providers}

    def named(self, name: str | None) -> CalledProvider:
        """The provider of this name; the first one if it has no place in the order, or was never known."""
        return self.first if name is None else self._by_name.get(name, self.first)

    def closed(self, now: float) -> CalledProvider | None:
        """The first one that may be called without a limit."""
        return next((one for one in self.providers if one.is_closed(now)), None)

    def limit(self, now: float) -> int:
        """How many calls may be under way."""
        return sum(one.limit(now) for one in self._in_use(now))

    def free(self, now: float) -> int:
        """How many more calls may begin."""
        return sum(max(0, one.limit(now) - one.calls) for one in self._in_use(now))

    def next_change_s(self, now: float, poll_s: float) -> float:
        """When to look again while none may be called without a limit."""
        untils = [now if one.paused else one.breaker.open_until or now for one in self.providers]
        return min(poll_s if until <= now else until - now for until in untils)

    def choose(self, last: str | None, now: float, *, pinned: bool) -> CalledProvider | None:
        """The provider of the next call of a delivery; None if it has to wait.

        Args:
            last: the one of its last call. It took the message for certain not, so the next in the order has its turn.
            pinned: or it may have taken it; then it is the only choice.
        """
        if pinned:
            one = self.named(last)
            return one if one.calls < one.limit(now) and one.is_paid(now) else None
        for one in self._after(last):
            has_place = one.calls < one.limit(now)
            if has_place and one.is_paid(now):
                return one
            if one.is_closed(now) and (one is self.first or not has_place):
                return None
        return None

    def promise_next(self, last: str | None, now: float) -> bool:
        """Whether a provider behind that of the last call may be called without a limit, and has promised this call.

        Otherwise `choose` may return that of the last call, before its time. For this reason one that is probed does not count, and a call
        that the budget allows is promised to one message, not to all that are refused at this moment.
        """
        place = self.providers.index(self.named(last))
        return any(one.is_closed(now) and one.promise(now) for one in self.providers[place + 1 :])

    # -- Budget

    def available(self, now: float) -> float:
        """How many calls may begin now."""
        payer, most = self._payer(now)
        return min(payer.budget.available(now), most)

    def most_at_once(self, now: float) -> float:
        """`available` is never more than this."""
        payer, most = self._payer(now)
        return min(payer.budget.most_at_once, most)

    def seconds_until(self, calls: int, now: float) -> float:
        """When the one that most calls go to may be called so often; infinite without a share."""
        return self._main(now).budget.seconds_until(calls, now)

    def reserve(self, calls: int, now: float) -> None:
        """So many calls will begin, or be given back."""
        one, _ = self._payer(now)
        one.reserved += calls
        one.budget.spend(calls)

    def begin(self, provider: CalledProvider, calls: int) -> None:
        """A delivery, for which one call is reserved, makes so many to `provider`."""
        if provider.reserved:
            provider.reserved -= 1
            paid = 1
        else:
            self.give_back(1)
            paid = min(1, provider.promised)
            provider.promised -= paid
        provider.budget.spend(calls - paid)
        provider.begin(calls)

    def not_begun(self, provider: CalledProvider, calls: int) -> None:
        """Take `begin` back: the delivery has one reserved call again."""
        provider.reserved += 1
        provider.budget.spend(1 - calls)
        provider.not_begun(calls)

    def give_back(self, calls: int) -> None:
        """So many reserved calls are not made."""
        for one in self.providers:
            count = min(calls, one.reserved)
            one.reserved -= count
            one.budget.spend(-count)
            calls -= count

    def _main(self, now: float) -> CalledProvider:
        return self.closed(now) or next((one for one in self.providers if one.limit(now)), self.first)

    def _payer(self, now: float) -> tuple[CalledProvider, float]:
        """Whose budget pays for the next calls, and for how many at most."""
        main = self._main(now)
        if main.budget.available(now) < 1:
            for one in self.providers[: self.providers.index(main)]:
                probes = one.limit(now) - one.calls - one.reserved
                if probes > 0 and one.budget.available(now) >= 1:
                    return one, probes
        return main, inf

    def _in_use(self, now: float) -> Iterator[CalledProvider]:
        """Up to the first that may be called without a limit."""
        for one in self.providers:
            yield one
            if one.is_closed(now):
                return

    def _after(self, last: str | None) -> Sequence[CalledProvider]:
        if last is None:
            return self.providers
        place = self.providers.index(self.named(last)) + 1
        return (*self.providers[place:], *self.providers[:place])


def configured_order(
    settings: ProviderSettings, channel: str, role: str, **but: Any
) -> tuple[ProviderOrder, list[Budget]]:
    """The providers of `channel` for a role's worker, and all budgets, each of which needs the worker's share.

    `but`: fields of `ProviderConfig` that are no settings.

    Raises:
        SettingsError, ValueError: a setting is not valid.
    """
    now = time.monotonic()
    each = [clients_with_budgets(one, channel, role, now, **but) for one in settings.in_order(channel)]
    order = ProviderOrder([CalledProvider(one.client, one.budgets[0]) for one in each], each[0].further)
    return order, [budget for one in each for budget in one.budgets]
