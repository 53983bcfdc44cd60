"""A mail client that is closed opens no connection: its worker has stopped, and the next owner makes the call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from notify_streams.delivery.providers import ProviderOutcome
from tests.contract.providers.scripted_mail_server import GREETING, MailServer, for_ever, mails_to


async def test_a_call_whose_connection_is_closed_with_the_client_is_not_repeated(outbox_of: Any) -> None:
    asked, mails = asyncio.Event(), 0

    async def before(connection: int, command: bytes) -> None:
        nonlocal mails
        mails += command == b"MAIL"
        if command == b"MAIL" and mails == 2:
            asked.set()
            await for_ever()

    server, outbox = MailServer(before), outbox_of("email")
    async with mails_to(server) as client:
        assert (await client.send(outbox.message())).outcome is ProviderOutcome.ACCEPTED
        call = asyncio.create_task(client.send(outbox.message()))
        await asked.wait()
        await client.close()
        result = await call
    assert (result.outcome, result.not_ready, result.maybe_accepted) == (ProviderOutcome.RETRY, False, False)
    assert (server.taken, server.connections) == ([1], 1)


@pytest.mark.parametrize("calls", [1, 2], ids=["for the connection", "for another call's connection"])
async def test_a_call_that_waits_ends_with_the_client(outbox_of: Any, calls: int) -> None:
    connected = asyncio.Event()

    async def before(connection: int, command: bytes) -> None:
        if command == GREETING:
            connected.set()
            await for_ever()

    server, outbox = MailServer(before), outbox_of("email")
    async with mails_to(server, smtp_connections=1) as client:
        waiting = [asyncio.create_task(client.send(outbox.message())) for _ in range(calls)]
        await connected.wait()
        await client.close()
        async with asyncio.timeout(1):
            results = await asyncio.gather(*waiting)
    assert {(one.outcome, one.begun) for one in results} == {(ProviderOutcome.RETRY, False)}
    assert server.connections == 1


async def test_a_call_after_the_close_opens_no_connection(outbox_of: Any) -> None:
    server = MailServer()
    async with mails_to(server) as client:
        await client.close()
        result = await client.send(outbox_of("email").message())
    assert (result.outcome, result.begun, server.connections) == (ProviderOutcome.RETRY, False, 0)
