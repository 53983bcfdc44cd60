"""A mail server that hangs up on an idle connection costs no attempt; one that hangs up later does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from notify_streams.delivery.providers import ProviderConfig, ProviderOutcome, provider_for


class FickleServer:
    """Takes one mail a connection, then hangs up on the given command of the next."""

    def __init__(self, hangs_up_on: bytes) -> None:
        self.connections = 0
        self._last_word = hangs_up_on

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        # Only the first connection is fickle.
        taken, fickle = 0, self.connections == 1
        writer.write(b"220 fickle\r\n")
        while line := await reader.readline():
            if fickle and taken and line.startswith(self._last_word):
                break
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                while line not in (b".\r\n", b""):
                    line = await reader.readline()
                if fickle and taken and self._last_word == b".":
                    break
                taken += 1
            writer.write(b"250 fickle\r\n")
        writer.close()


@pytest.mark.parametrize(
    ("hangs_up_on", "outcome", "maybe_accepted", "connections"),
    [
        (b"MAIL", ProviderOutcome.ACCEPTED, False, 2),
        (b"RCPT", ProviderOutcome.ACCEPTED, False, 2),
        (b".", ProviderOutcome.RETRY, True, 1),
    ],
)
async def test_a_mail_is_repeated_by_itself_only_while_it_was_surely_not_taken(
    outbox_of: Any, hangs_up_on: bytes, outcome: ProviderOutcome, maybe_accepted: bool, connections: int
):
    fickle = FickleServer(hangs_up_on)
    server = await asyncio.start_server(fickle.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = ProviderConfig(fcm="http://unused", twilio="http://unused", smtp=f"smtp://127.0.0.1:{port}")
    provider = provider_for("email", config)
    await provider.start()
    outbox = outbox_of("email")
    assert (await provider.send(outbox.message())).outcome is ProviderOutcome.ACCEPTED
    result = await provider.send(outbox.message())
    assert (result.outcome, result.maybe_accepted) == (outcome, maybe_accepted)
    assert fickle.connections == connections
    await provider.close()
    server.close()
