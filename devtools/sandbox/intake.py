"""Processes the messages of all protocols: delays, faults, the provider log."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import get_args

from devtools.sandbox.call_log import ReceivedCall
from devtools.sandbox.fault_injection import Action, Failure, FaultInjector, FaultPlan, ProviderName
from devtools.sandbox.messages import IncomingMessage
from devtools.sandbox.provider_log import ProviderLogWriter
from devtools.sandbox.seen.kept_messages import KeptMessages
from notify_streams.admin.audit.provider_log import AcceptedMessage, contact_sha

ACCEPTED = frozenset((Action.ACCEPT, Action.ACCEPT_AND_LOSE_ANSWER, Action.ACCEPT_AND_GO_AWAY))
PROVIDERS: tuple[ProviderName, ...] = get_args(ProviderName)
_ABOUT_CREDENTIAL = (401, 403)
#: A hanging request is closed after this.
_HANG_S = 60.0


class MessageIntake:
    """Shared by all protocols of the sandbox."""

    def __init__(self, log: ProviderLogWriter, calls: ProviderLogWriter | None = None) -> None:
        """`calls`: the call log, if one is wanted."""
        self._log = log
        self._calls = calls
        self._injectors = {name: FaultInjector(FaultPlan(name)) for name in PROVIDERS}
        #: (provider, action) → messages
        self.counts: Counter[tuple[str, str]] = Counter()
        self.kept = KeptMessages()

    def set_faults(self, plan: FaultPlan) -> None:
        """Replace the faults of one provider. Messages that are being processed keep the old ones."""
        self._injectors[plan.provider] = FaultInjector(plan)

    def clear_faults(self) -> None:
        for name in PROVIDERS:
            self.set_faults(FaultPlan(name))

    def refuses_contact(self, provider: ProviderName, contact: str) -> bool:
        """Whether the contact is dead; for protocols that name it before the message. Counts it as a message."""
        if contact not in self._injectors[provider].plan.dead_tokens:
            return False
        self.counts[provider, Action.DEAD.value] += 1
        return True

    def failure(self, provider: ProviderName) -> Failure:
        """The response to a message with `Action.FAIL`; 503 if the faults were cleared meanwhile."""
        return self._injectors[provider].plan.fail or Failure(503)

    def refused_credential(self, provider: ProviderName) -> Failure | None:
        """The response to every call while the provider does not take our credential; None: it takes it."""
        failure = self._injectors[provider].plan.fail
        return failure if failure is not None and failure.status in _ABOUT_CREDENTIAL and failure.share == 1 else None

    async def process(self, message: IncomingMessage) -> Action:
        """Returns after the action: an accepted message is in the provider log, a hanging one has waited for a minute.

        Raises:
            OSError: the provider log cannot be written.
        """
        injector = self._injectors[message.provider]
        action = injector.next_action(message.to)
        if self._calls is not None:
            await self._calls.append(_call(message, action))
        if injector.plan.latency_ms:
            await asyncio.sleep(injector.plan.latency_ms / 1000)
        if action is Action.HANG:
            await asyncio.sleep(_HANG_S)
        elif action in ACCEPTED:
            line = _line(message, time.time())
            await self._log.append(line)
            self.kept.add(line, message.to, message.content)
        self.counts[message.provider, action.value] += 1
        return action


def _call(message: IncomingMessage, action: Action) -> ReceivedCall:
    delivery_id = message.metadata.get("notify_delivery_id", "")
    return ReceivedCall(message.at, message.provider, delivery_id, action.value)


def _line(message: IncomingMessage, now: float) -> AcceptedMessage:
    metadata = message.metadata
    attempt = metadata.get("notify_attempt", "")
    return AcceptedMessage(
        at=message.at,
        done=now,
        provider=message.provider,
        channel=message.channel,
        delivery_id=metadata.get("notify_delivery_id", ""),
        notification_id=metadata.get("notify_notification_id", ""),
        attempt=int(attempt) if attempt.isdecimal() else 0,
        possible_duplicate=metadata.get("notify_possible_duplicate") == "1",
        critical=metadata.get("notify_critical") == "1",
        to_sha=contact_sha(message.to),
        decided_at=metadata.get("notify_decided_at"),
    )
