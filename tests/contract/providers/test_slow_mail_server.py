"""A mail server that takes longer to connect than a check is good for, or than a call may take, gets the next mail."""

from __future__ import annotations

import asyncio
from typing import Any

from notify_streams.delivery.providers import ProviderConfig, ProviderOutcome
from notify_streams.delivery.providers.checks import check_smtp
from notify_streams.delivery.providers.smtp import Smtp
from tests.contract.providers.scripted_mail_server import GREETING, MailServer, mails_to


async def test_a_connection_that_is_open_too_late_for_its_mail_serves_the_next(outbox_of: Any) -> None:
    go_on = asyncio.Event()
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await go_on.wait()
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                while line != b".\r\n":
                    line = await reader.readline()
            writer.write(b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    smtp = Smtp(
        ProviderConfig(
            fcm="http://f", twilio="http://t", smtp=f"smtp://127.0.0.1:{port}", start_within_s=0.05, smtp_connections=1
        )
    )
    message = outbox_of("email").message()
    first = await smtp.send(message)
    assert (first.outcome, first.not_ready, first.begun) == (ProviderOutcome.RETRY, True, False)
    go_on.set()
    async with asyncio.timeout(5):
        while (result := await smtp.send(message)).not_ready:
            pass
    assert (result.outcome, connections) == (ProviderOutcome.ACCEPTED, 1)
    await smtp.close()
    server.close()


async def test_a_mail_server_that_never_answers_has_failed(outbox_of: Any) -> None:
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    smtp = Smtp(
        ProviderConfig(
            fcm="http://f",
            twilio="http://t",
            smtp=f"smtp://127.0.0.1:{port}",
            start_within_s=0.05,
            smtp_connect_timeout_s=0.3,
        )
    )
    smtp_message = outbox_of("email").message()
    async with asyncio.timeout(10):
        while (result := await smtp.send(smtp_message)).not_ready:
            pass
    assert (result.outcome, result.begun, result.maybe_accepted) == (ProviderOutcome.RETRY, False, False)
    go_on.set()
    await smtp.close()
    server.close()


async def test_a_server_that_greets_after_seconds_is_connected_to_once_and_gets_the_mail(outbox_of: Any) -> None:
    async def before(connection: int, command: bytes) -> None:
        if command == GREETING:
            await asyncio.sleep(2.5)

    server, message = MailServer(before), outbox_of("email").message()
    async with mails_to(server, timeout_s=1.0, start_within_s=0.2) as client, asyncio.timeout(10):
        while (result := await client.send(message)).not_ready:
            pass
    assert (result.outcome, server.taken, server.connections) == (ProviderOutcome.ACCEPTED, [1], 1)


async def test_a_refused_connection_is_the_result_of_a_call_that_came_later(outbox_of: Any) -> None:
    async def before(connection: int, command: bytes) -> None:
        if command == GREETING:
            await asyncio.sleep(0.5)

    server, message = MailServer(before, {GREETING: b"554 5.3.2 no service here"}), outbox_of("email").message()
    async with mails_to(server, start_within_s=0.2) as client, asyncio.timeout(10):
        while (result := await client.send(message)).not_ready:
            pass
    assert (result.outcome, result.code, result.begun, server.connections) == (
        ProviderOutcome.RETRY,
        "554 5.3.2",
        False,
        1,
    )


async def test_the_check_of_a_mail_server_waits_as_long_as_a_worker() -> None:
    async def before(connection: int, command: bytes) -> None:
        if command == GREETING:
            await asyncio.sleep(0.8)

    server = MailServer(before)
    async with mails_to(server):
        found = await check_smtp(ProviderConfig(smtp=f"smtp://127.0.0.1:{server.port}", timeout_s=0.2))
    assert found.startswith("the mail server answers")
