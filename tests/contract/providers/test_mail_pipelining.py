"""The commands of a mail are sent together where the server offers it (RFC 2920); each reply still counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from notify_streams.delivery.providers import Provider, ProviderConfig, ProviderOutcome, ProviderResult, provider_for


class PipeliningServer:
    """Replies to the commands of a mail when all three have arrived. `replies`: by command, other than success."""

    def __init__(self, **replies: bytes) -> None:
        self.replies = {"MAIL": b"250 ok\r\n", "RCPT": b"250 ok\r\n", "DATA": b"354 go on\r\n", "END": b"250 ok\r\n"}
        self.replies |= replies
        self.connections = 0
        #: What arrived as content, without the dot at its end.
        self.contents: list[bytes] = []
        self.resets = 0
        self.greeted: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            if line.startswith(b"EHLO"):
                writer.write(b"250-server\r\n250 PIPELINING\r\n")
                self.greeted.append(writer)
            elif line.startswith(b"MAIL"):
                await reader.readline()
                await reader.readline()
                writer.write(self.replies["MAIL"] + self.replies["RCPT"] + self.replies["DATA"])
                if self.replies["DATA"].startswith(b"354"):
                    content = await reader.readline()
                    while content != b".\r\n" and not content.endswith(b"\r\n.\r\n") and not reader.at_eof():
                        content += await reader.readline()
                    if reader.at_eof():
                        break
                    self.contents.append(content[:-3])
                    writer.write(self.replies["END"])
            else:
                self.resets += line.startswith(b"RSET")
                writer.write(b"250 ok\r\n")
        writer.close()


@asynccontextmanager
async def provider_of(smtp: PipeliningServer) -> AsyncIterator[Provider]:
    server = await asyncio.start_server(smtp.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = ProviderConfig(
        fcm="http://unused",
        twilio="http://unused",
        smtp=f"smtp://127.0.0.1:{port}",
        smtp_connections=1,
        timeout_s=5.0,
        start_within_s=5.0,
    )
    provider = provider_for("email", config)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()
        server.close()


async def test_a_mail_needs_two_round_trips(outbox_of: Any) -> None:
    smtp = PipeliningServer()
    async with provider_of(smtp) as provider:
        result = await provider.send(outbox_of("email").message(body=".\n..dots\nend"))
    assert (result.outcome, result.detail) == (ProviderOutcome.ACCEPTED, "SMTP 250")
    assert smtp.contents[0].endswith(b"\r\n\r\n..\r\n...dots\r\nend\r\n")


async def test_a_refused_recipient_is_the_result_even_if_the_server_asks_for_content(outbox_of: Any) -> None:
    outbox = outbox_of("email")
    smtp = PipeliningServer(RCPT=b"550-no such\r\n550 mailbox\r\n", END=b"554 no valid recipients\r\n")
    async with provider_of(smtp) as provider:
        refused = await provider.send(outbox.message())
        smtp.replies |= {"RCPT": b"250 ok\r\n", "END": b"250 ok\r\n"}
        sent = await provider.send(outbox.message())
    assert (refused.outcome, refused.code) == (ProviderOutcome.REJECTED, "550")
    assert sent.outcome is ProviderOutcome.ACCEPTED
    assert smtp.contents[0] == b"" and smtp.contents[1] and (smtp.connections, smtp.resets) == (1, 1)


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ({"RCPT": b"550-5.1.1 no such\r\n550 5.1.1 mailbox\r\n"}, ProviderOutcome.DEAD_TOKEN),
        ({"END": b"550 5.1.1 no such mailbox\r\n"}, ProviderOutcome.DEAD_TOKEN),
        ({"MAIL": b"550 5.1.1 no\r\n", "RCPT": b"550 5.1.1 no\r\n"}, ProviderOutcome.RETRY),
    ],
    ids=["recipient", "content", "sender"],
)
async def test_only_a_reply_about_the_recipient_makes_its_address_invalid(
    outbox_of: Any, replies: dict[str, bytes], outcome: ProviderOutcome
) -> None:
    refused = {} if "END" in replies else {"DATA": b"503 5.5.1 no valid recipients\r\n"}
    async with provider_of(PipeliningServer(**replies, **refused)) as provider:
        result = await provider.send(outbox_of("email").message())
    assert (result.outcome, result.code) == (outcome, "550 5.1.1")


async def test_a_server_that_refuses_data_sees_no_content(outbox_of: Any) -> None:
    smtp = PipeliningServer(DATA=b"451 later\r\n")
    async with provider_of(smtp) as provider:
        result = await provider.send(outbox_of("email").message())
    assert (result.outcome, result.code, result.maybe_accepted) == (ProviderOutcome.RETRY, "451", False)
    assert smtp.contents == []


async def test_a_connection_that_the_server_announces_to_close_is_not_used(outbox_of: Any) -> None:
    outbox = outbox_of("email")
    smtp = PipeliningServer()

    async def send() -> ProviderResult:
        return await provider.send(outbox.message())

    async with provider_of(smtp) as provider:
        assert (await send()).outcome is ProviderOutcome.ACCEPTED
        smtp.greeted[0].write(b"421 too long idle\r\n")
        await smtp.greeted[0].drain()
        assert (await send()).outcome is ProviderOutcome.ACCEPTED
    assert smtp.connections == 2 and len(smtp.contents) == 2
