"""How long each part of a mail's dialogue may take."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from notify_streams.delivery.providers import ProviderOutcome
from tests.contract.providers.scripted_mail_server import CONTENT, MailServer, for_ever, mails_to

#: Of a call that waits for nothing on two shared cores.
SOON_S = 3.0


async def test_a_server_that_takes_long_to_accept_a_mail_gets_it_once(outbox_of: Any) -> None:
    async def before(connection: int, command: bytes) -> None:
        if command == CONTENT:
            await asyncio.sleep(1.0)

    server = MailServer(before)
    async with mails_to(server, timeout_s=0.3) as client:
        result = await client.send(outbox_of("email").message())
    assert (result.outcome, result.maybe_accepted, server.taken) == (ProviderOutcome.ACCEPTED, False, [1])


async def test_the_caller_knows_when_the_server_has_taken_everything_but_the_content(outbox_of: Any) -> None:
    events: list[bytes] = []

    async def before(connection: int, command: bytes) -> None:
        events.append(command)

    message = msgspec.structs.replace(outbox_of("email").message(), on_content=lambda: events.append(b"begins"))
    async with mails_to(MailServer(before)) as client:
        await client.send(message)
        await client.send(message)
    assert [one for one in events if one in (b"DATA", b"begins", CONTENT)] == [b"DATA", b"begins", CONTENT] * 2
    refusing = MailServer(replies={b"RCPT": b"550 5.1.1 no"})
    begun: list[int] = []
    async with mails_to(refusing) as client:
        await client.send(msgspec.structs.replace(message, on_content=lambda: begun.append(1)))
    assert not begun


async def test_a_server_that_never_accepts_a_mail_may_have_it_after_the_limit(outbox_of: Any) -> None:
    async def before(connection: int, command: bytes) -> None:
        if command == CONTENT:
            await for_ever()

    began = time.monotonic()
    async with mails_to(MailServer(before), timeout_s=30.0, smtp_reply_timeout_s=0.3) as client:
        result = await client.send(outbox_of("email").message())
    assert (result.outcome, result.maybe_accepted) == (ProviderOutcome.RETRY, True)
    assert 0.3 <= time.monotonic() - began < SOON_S


async def test_the_commands_before_the_content_have_the_shorter_limit(outbox_of: Any) -> None:
    async def before(connection: int, command: bytes) -> None:
        if command == b"RCPT":
            await for_ever()

    server, began = MailServer(before), time.monotonic()
    async with mails_to(server, timeout_s=0.3) as client:
        result = await client.send(outbox_of("email").message())
    assert (result.outcome, result.maybe_accepted, server.taken) == (ProviderOutcome.RETRY, False, [])
    assert 0.3 <= time.monotonic() - began < SOON_S


async def test_a_refusal_counts_even_if_the_server_says_nothing_more(outbox_of: Any) -> None:
    async def before(connection: int, command: bytes) -> None:
        if command == b"RSET":
            await for_ever()

    server, began = MailServer(before, {CONTENT: b"554 5.7.1 no"}), time.monotonic()
    async with mails_to(server, timeout_s=0.3) as client:
        result = await client.send(outbox_of("email").message())
    assert (result.outcome, result.code) == (ProviderOutcome.REJECTED, "554 5.7.1")
    assert time.monotonic() - began < SOON_S


async def test_a_stopping_worker_does_not_wait_for_the_acceptance(outbox_of: Any) -> None:
    arrived = asyncio.Event()

    async def before(connection: int, command: bytes) -> None:
        if command == CONTENT:
            arrived.set()
            await for_ever()

    async with mails_to(MailServer(before)) as client:
        call = asyncio.create_task(client.send(outbox_of("email").message()))
        await arrived.wait()
        began = time.monotonic()
        await client.close()
        result = await call
    assert (result.outcome, result.maybe_accepted) == (ProviderOutcome.RETRY, True)
    assert time.monotonic() - began < 0.5
