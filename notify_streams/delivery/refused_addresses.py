"""Suppresses addresses that a provider refuses for good at a call.

Twilio's 21610 and SNS's OptedOut say that the number's owner opted out with the provider: a stop of the number. A mail
server's reply that the mailbox does not exist is a hard bounce.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from notify_streams import tasks
from notify_streams.delivery.providers import ProviderOutcome
from notify_streams.errors import RetryLater, UnknownFailure
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.retry import RetryPolicy, call_for_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.delivery.providers import ProviderResult
    from notify_streams.preferences.stops import Stops
    from notify_streams.preferences.suppressed_addresses import SuppressionReason
    from notify_streams.records.channel_message import ChannelMessage

    _Refused = tuple[ChannelMessage, SuppressionReason, ChoiceSource]

log = logging.getLogger(__name__)

#: Provider and code. "Attempt to send to unsubscribed recipient", https://www.twilio.com/docs/api/errors/21610; "the specified phone number
#: opted out of receiving SMS messages from your AWS account", botocore, sns service model.
_OPTED_OUT: Final = frozenset({("twilio", "21610"), ("sns", "OptedOut")})
_MAX_WAITING: Final = 10_000
_AT_ONCE: Final = 20
_RETRY: Final = RetryPolicy("addresses.suppress", first_s=0.1, max_s=5.0, max_unknown_s=30.0)


class RefusedAddresses:
    """Suppresses each in the background. One that is lost, by a crash or because too many wait, is suppressed after its next call."""

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self._waiting: list[_Refused] = []
        self._added = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(tasks.keep_running("refused addresses", self._run))

    async def stop(self) -> None:
        await tasks.stop([self._running])

    def add(self, message: ChannelMessage, result: ProviderResult) -> None:
        """A call for `message` was refused. Nothing happens if the result says nothing about the address."""
        if not self._stops.suppresses_addresses or len(self._waiting) >= _MAX_WAITING:
            return
        if (result.provider, result.code) in _OPTED_OUT:
            self._waiting.append((message, "stopped", ChoiceSource.PROVIDER_OPT_OUT))
        elif message.channel == "email" and result.outcome is ProviderOutcome.DEAD_TOKEN:
            self._waiting.append((message, "bounced", ChoiceSource.HARD_BOUNCE))
        self._added.set()

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                await self._added.wait()
            self._added.clear()
            while self._waiting:
                some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                await asyncio.gather(*(call_for_each(_RETRY, self._suppress, [one], _leave_out) for one in some))

    async def _suppress(self, some: Sequence[_Refused]) -> None:
        ((message, why, source),) = some
        try:
            await self._stops.suppress_address(message.channel, message.to, why, message.delivery_id, source)
        except RetryLater:
            raise
        except Exception as error:
            raise UnknownFailure(f"address cannot be suppressed: {type(error).__name__}") from error
        log.info("address suppressed", extra={"action": "address.suppress", "reason": why})


def _leave_out(one: _Refused) -> None:
    """The database will never take it, and the others must not wait for it."""
    message, why, _ = one
    log.error(
        "address cannot be suppressed",
        extra={"action": "address.suppress_failed", "reason": why, "delivery_id": message.delivery_id},
    )
