"""Where every protocol hands in its messages: takes one, lets its fate happen, records it if it is accepted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import get_args

import msgspec

from devtools.sandbox.acceptance_log import AcceptanceLog
from devtools.sandbox.fault_injection import Failure, FaultInjector, FaultPlan, InjectedFault, ProviderName
from notify_streams.admin.audit.provider_log import AcceptedMessage, contact_sha

PROVIDERS: tuple[ProviderName, ...] = get_args(ProviderName)
#: a hanging message is let go after this, its connection cut
_HANG_S = 60.0


class Incoming(msgspec.Struct, frozen=True):
    """A well-formed message, as some protocol brought it."""

    #: Unix seconds: when the request began to arrive
    at: float
    provider: ProviderName
    channel: str
    to: str
    #: delivery_id, notification_id, attempt, possible_duplicate, critical, decided_at; each may be missing
    marks: Mapping[str, str]


class MessageIntake:
    """Shared by all protocols of the sandbox."""

    def __init__(self, record: AcceptanceLog) -> None:
        self._record = record
        self._behaviours = {name: FaultInjector(FaultPlan(name)) for name in PROVIDERS}
        #: (provider, fate) → messages
        self.fates: Counter[tuple[str, str]] = Counter()

    def order(self, orders: FaultPlan) -> None:
        """Replaces the behaviour of one provider; messages already taken meet the old one."""
        self._behaviours[orders.provider] = FaultInjector(orders)

    def forget_orders(self) -> None:
        """Every provider behaves well again."""
        for name in PROVIDERS:
            self.order(FaultPlan(name))

    def is_dead(self, provider: ProviderName, contact: str) -> bool:
        """For a protocol that can refuse a contact before it has the message."""
        if contact not in self._behaviours[provider].orders.dead_tokens:
            return False
        self.fates[provider, InjectedFault.DEAD.value] += 1
        return True

    def failure(self, provider: ProviderName) -> Failure:
        """What a message that met FAIL is answered; 503 if the orders have been withdrawn meanwhile."""
        return self._behaviours[provider].orders.fail or Failure(503)

    async def take(self, incoming: Incoming) -> InjectedFault:
        """Returns when the fate has happened: after ACCEPT the line is in the file; after HANG a minute has passed.

        Raises OSError if the record cannot be written.
        """
        behaviour = self._behaviours[incoming.provider]
        fate = behaviour.fate(incoming.to)
        if behaviour.orders.latency_ms:
            await asyncio.sleep(behaviour.orders.latency_ms / 1000)
        if fate is InjectedFault.HANG:
            await asyncio.sleep(_HANG_S)
        elif fate in (InjectedFault.ACCEPT, InjectedFault.ACCEPT_AND_LOSE_ANSWER):
            await self._record.append(_line(incoming, time.time()))
        self.fates[incoming.provider, fate.value] += 1
        return fate


def _line(incoming: Incoming, now: float) -> AcceptedMessage:
    marks = incoming.marks
    attempt = marks.get("attempt", "")
    return AcceptedMessage(
        at=incoming.at,
        done=now,
        provider=incoming.provider,
        channel=incoming.channel,
        delivery_id=marks.get("delivery_id", ""),
        notification_id=marks.get("notification_id", ""),
        attempt=int(attempt) if attempt.isdecimal() else 0,
        possible_duplicate=marks.get("possible_duplicate") == "1",
        critical=marks.get("critical") == "1",
        to_sha=contact_sha(incoming.to),
        decided_at=marks.get("decided_at"),
    )
