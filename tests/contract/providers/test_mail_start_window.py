"""A mail begins within `start_within_s`, or is not sent: also on a second connection, after the first one was lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from notify_streams.delivery.providers import ProviderOutcome
from tests.contract.providers.scripted_mail_server import GREETING, MailServer, for_ever, mails_to


class LosingServer(MailServer):
    """Takes a mail over its first connection, and loses that after `wait_s` with the next; greets no second one if it is `mute`."""

    def __init__(self, wait_s: float, *, mute: bool = False) -> None:
        super().__init__(self._lose)
        self._wait_s = wait_s
        self._mute = mute
        self._mails = Counter[int]()

    async def _lose(self, connection: int, command: bytes) -> None:
        self._mails[connection] += command == b"MAIL"
        if command == GREETING and connection > 1 and self._mute:
            await for_ever()
        if command == b"MAIL" and (connection, self._mails[1]) == (1, 2):
            await asyncio.sleep(self._wait_s)
            raise EOFError


async def test_a_connection_that_is_lost_after_the_window_leads_to_no_mail(outbox_of: Any) -> None:
    server, outbox = LosingServer(1.0), outbox_of("email")
    async with mails_to(server, start_within_s=0.5) as client:
        assert (await client.send(outbox.message())).outcome is ProviderOutcome.ACCEPTED
        result = await client.send(outbox.message())
        assert (result.outcome, result.not_ready, result.begun) == (ProviderOutcome.RETRY, True, False)
        assert not result.maybe_accepted and server.taken == [1]
        assert (await client.send(outbox.message())).outcome is ProviderOutcome.ACCEPTED


async def test_the_second_connection_has_the_rest_of_the_window(outbox_of: Any) -> None:
    server, outbox = LosingServer(1.0, mute=True), outbox_of("email")
    async with mails_to(server, start_within_s=1.5) as client:
        assert (await client.send(outbox.message())).outcome is ProviderOutcome.ACCEPTED
        began = time.monotonic()
        result = await client.send(outbox.message())
    assert 1.4 < time.monotonic() - began < 2.3
    assert (result.outcome, result.not_ready, server.taken) == (ProviderOutcome.RETRY, True, [1])
