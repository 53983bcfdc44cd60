"""Several push providers in one worker: each device of a person names its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from notify_streams.delivery.breaker import MANY_SERVERS
from notify_streams.delivery.providers.call_limit import CallLimit
from notify_streams.delivery.providers.credential_choice import provider_with_budgets
from notify_streams.delivery.providers.from_settings import further_push_providers
from notify_streams.delivery.providers.provider import (
    Outgoing,
    Provider,
    ProviderOutcome,
    ProviderResult,
    unsendable,
)

if TYPE_CHECKING:
    from notify_streams.delivery.budget import Budget
    from notify_streams.settings_providers import ProviderSettings

#: The code of a device whose provider has no credential in the settings.
NOT_CONFIGURED: Final = "not_configured"


class Clients(NamedTuple):
    """The clients of a worker, and what limits their calls."""

    #: of the channel, and of each push provider
    client: Provider
    #: Each needs the worker's share; the first one is that of the channel's provider.
    budgets: list[Budget]
    #: The push providers beside the channel's, by name.
    further: dict[str, CallLimit]


class PushChoice:
    """A `Provider` over one client for each push provider; `name` and `max_in_flight` are those of the default one.

    The caller limits the calls to the default provider. The others have a circuit breaker and a budget here.
    """

    def __init__(self, default: Provider, further: Mapping[str, tuple[Provider, CallLimit]]) -> None:
        """`further`: by the name that devices have."""
        self.name = default.name
        self.max_in_flight = default.max_in_flight
        self._default = default
        # Without a limit, one provider that fails would take the connections of the others.
        self._further = further

    async def start(self) -> None:
        await self._default.start()
        for client, _ in self._further.values():
            await client.start()

    async def close(self) -> None:
        clients = [self._default, *(client for client, _ in self._further.values())]
        await asyncio.gather(*(client.close() for client in clients))

    def send(self, message: Outgoing) -> Coroutine[Any, Any, ProviderResult]:
        """See `Provider`. It is no coroutine function itself, so that a message to the default provider costs no more than without a choice."""
        if message.provider is None or message.provider == self.name:
            return self._default.send(message)
        return self._send(message, message.provider)

    async def _send(self, message: Outgoing, name: str) -> ProviderResult:
        if (found := self._further.get(name)) is None:
            return unsendable(name, ProviderOutcome.BAD_ADDRESS, NOT_CONFIGURED)
        client, limit = found
        return limit.refusal() or await limit.counted(client.send(message))


def clients_with_budgets(settings: ProviderSettings, channel: str, role: str, now: float, **but: Any) -> Clients:
    """As `provider_with_budgets`; of push with a client for each provider that has a credential.

    `calls_per_s` of the settings limits `push_provider`, `push_calls_per_s` the others: what is over their limit is retried.
    """
    client, budgets = provider_with_budgets(settings, channel, role, now, **but)
    if channel != "push":
        return Clients(client, budgets, {})
    further: dict[str, tuple[Provider, CallLimit]] = {}
    for name in further_push_providers(settings):
        limits = settings.push_calls_per_s.get(name, {})
        of_name = msgspec.structs.replace(settings, push_provider=name, calls_per_s=limits)
        one, of_one = provider_with_budgets(of_name, channel, role, now, **but)
        further[name] = one, CallLimit(name, one.max_in_flight, of_one[0], of_many_servers=name in MANY_SERVERS)
        budgets += of_one
    return Clients(PushChoice(client, further), budgets, {name: limit for name, (_, limit) in further.items()})
