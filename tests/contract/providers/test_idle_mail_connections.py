"""A closed idle SMTP connection costs no attempt; one closed during a mail does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from notify_streams.delivery.providers import Outgoing, ProviderConfig, ProviderOutcome, provider_for
from tests.contract.providers.scripted_mail_server import CONTENT, MailServer, for_ever, mails_to

MAIL = Outgoing(delivery_id="d", notification_id="n", channel="email", to="a@example.org", body="hi")


class DisconnectingServer:
    """Accepts one mail on its first connection, then closes it on the given command of the next mail."""

    def __init__(self, disconnects_on: bytes) -> None:
        self.connections = 0
        self._last_command = disconnects_on

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        accepted, disconnects = 0, self.connections == 1
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            if disconnects and accepted and line.startswith(self._last_command):
                break
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                while line not in (b".\r\n", b""):
                    line = await reader.readline()
                if disconnects and accepted and self._last_command == b".":
                    break
                accepted += 1
            writer.write(b"250 ok\r\n")
        writer.close()


@pytest.mark.parametrize(
    ("disconnects_on", "outcome", "maybe_accepted", "connections"),
    [
        (b"MAIL", ProviderOutcome.ACCEPTED, False, 2),
        (b"RCPT", ProviderOutcome.ACCEPTED, False, 2),
        (b".", ProviderOutcome.RETRY, True, 1),
    ],
)
async def test_a_mail_is_repeated_only_before_its_content_was_sent(
    outbox_of: Any, disconnects_on: bytes, outcome: ProviderOutcome, maybe_accepted: bool, connections: int
) -> None:
    smtp = DisconnectingServer(disconnects_on)
    server = await asyncio.start_server(smtp.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    smtp_url = f"smtp://127.0.0.1:{port}"
    config = ProviderConfig(fcm="http://unused", twilio="http://unused", smtp=smtp_url, start_within_s=5.0)
    provider = provider_for("email", config)
    await provider.start()
    outbox = outbox_of("email")
    assert (await provider.send(outbox.message())).outcome is ProviderOutcome.ACCEPTED
    result = await provider.send(outbox.message())
    assert (result.outcome, result.maybe_accepted) == (outcome, maybe_accepted)
    assert smtp.connections == connections
    await provider.close()
    server.close()


async def test_a_connection_that_was_idle_for_long_is_not_used_again() -> None:
    """A firewall has forgotten it: what is sent has no answer."""

    async def forgotten(connection: int, command: bytes) -> None:
        if connection == 1 and server.taken and command != CONTENT:
            await for_ever()

    server = MailServer(before=forgotten)
    async with mails_to(server, smtp_idle_s=0.0, timeout_s=1.0) as client:
        results = [await client.send(MAIL) for _ in range(2)]
    assert [one.outcome for one in results] == [ProviderOutcome.ACCEPTED] * 2
    assert server.taken == [1, 2]


async def test_a_connection_that_was_idle_for_a_moment_is_used_again() -> None:
    server = MailServer()
    async with mails_to(server) as client:
        for _ in range(2):
            await client.send(MAIL)
    assert server.taken == [1, 1]
