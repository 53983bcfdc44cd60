"""Several credentials of one provider, each with a budget of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from notify_streams.delivery.budget import Budget
from notify_streams.delivery.providers.factory import provider_for
from notify_streams.delivery.providers.from_settings import provider_config
from notify_streams.delivery.providers.provider import Outgoing, Provider, ProviderResult

if TYPE_CHECKING:
    from notify_streams.settings_providers import ProviderSettings

#: A credential that was refused is not used for so long while another one is there.
_SET_ASIDE_S: Final = 10.0


class CredentialChoice:
    """A `Provider` over one client for each credential. A call uses the one that may make the most calls now, or else the least busy.

    The caller admits no more calls than all budgets together allow, so none waits here.
    """

    def __init__(self, clients: Sequence[Provider], budgets: Sequence[Budget]) -> None:
        """`clients`: one at least, all of one provider; each with its budget."""
        self.name = clients[0].name
        self.max_in_flight = clients[0].max_in_flight
        self._credentials = [_Credential(client, budget) for client, budget in zip(clients, budgets, strict=True)]

    async def start(self) -> None:
        for one in self._credentials:
            await one.client.start()

    async def close(self) -> None:
        await asyncio.gather(*(one.client.close() for one in self._credentials))

    async def send(self, message: Outgoing) -> ProviderResult:
        now = time.monotonic()
        usable = [one for one in self._credentials if one.set_aside_until <= now] or self._credentials
        chosen = max(usable, key=lambda one: (one.budget.available(now), -one.calls))
        chosen.budget.spend(1)
        chosen.calls += 1
        try:
            result = await chosen.client.send(message)
        finally:
            chosen.calls -= 1
        if result.not_ready:
            chosen.budget.spend(-1)
        elif result.credential_refused:
            chosen.set_aside_until = time.monotonic() + _SET_ASIDE_S
        return result


def provider_with_budgets(
    settings: ProviderSettings, channel: str, role: str, now: float, **but: Any
) -> tuple[Provider, list[Budget]]:
    """The client of `channel` for a role's worker. The first budget is that of all credentials together.

    Each budget needs the worker's share. `but`: fields of `ProviderConfig` that are no settings.

    Raises:
        SettingsError, ValueError: a setting is not valid.
    """
    each = settings.each_credential(settings.provider_of[channel])
    clients = [provider_for(channel, provider_config(one, **but)) for one in each]
    rates = [one.calls_per_s.get(role) for one in each]
    budgets = [Budget(rate, now) for rate in rates]
    if len(each) == 1:
        return clients[0], budgets
    limited = [rate for rate in rates if rate is not None]
    together = Budget(sum(limited) if len(limited) == len(rates) else None, now)
    return CredentialChoice(clients, budgets), [together, *budgets]


class _Credential:
    """A client, its budget and its calls under way."""

    __slots__ = ("budget", "calls", "client", "set_aside_until")

    def __init__(self, client: Provider, budget: Budget) -> None:
        self.client = client
        self.budget = budget
        self.calls = 0
        self.set_aside_until = 0.0
